"""Multiple choice: the choice that a reply selects, the right ones, and keys that can never match."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.scoring.answer_matching import contains
from fobench.scoring.choice_parsing import expectation_problem, label, parse_choice, right_choices

CITIES = ("London", "Paris", "Rome", "Berlin")
words = st.text(string.ascii_lowercase, min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("reply", "city"),
    [
        ("B", "Paris"),
        ("(b)", "Paris"),
        ("c.", "Rome"),
        ("B. Paris", "Paris"),
        ("(D) it is", "Berlin"),
        ("The answer is C", "Rome"),
        ("I think the correct answer is (a).", "London"),
        ("the answer is a.", "London"),
        ("Option D!", "Berlin"),
        ("I'd go with option B, surely", "Paris"),
        ("It's Paris.", "Paris"),
        ("The answer is Rome", "Rome"),
        ("A lovely city is Berlin", "Berlin"),  # an article is no label
        ("Not London but Paris", "Paris"),  # two choices
        ("The answer is B. No, the answer is C.", None),
        ("The answer is Z", None),  # a label beyond the choices
        ("I do not know.", None),
        ("", None),
    ],
)
def test_parse_choice(reply, city):
    found = parse_choice(reply, CITIES)
    assert (CITIES[found] if found is not None else None) == city


def test_the_longer_choice_wins_over_one_inside_it():
    assert parse_choice("Dark red, I think", ["red", "dark red", "blue"]) == 1


@pytest.mark.parametrize(
    "form", ["{}", "({})", "{}.", "The answer is {}", "The answer is {}.", "Option {}", "I pick {}."]
)
@pytest.mark.parametrize("index", range(4))
def test_every_form_of_every_label(form, index):
    assert parse_choice(form.format(label(index)), CITIES) == index


@given(st.text(max_size=60), st.lists(words, max_size=6))
def test_a_parsed_choice_exists(reply, choices):
    assert parse_choice(reply, choices) in (None, *range(len(choices)))


@pytest.mark.parametrize(
    ("answers", "choices", "right"),
    [
        (("Paris",), CITIES, {1}),
        (("b",), CITIES, {1}),
        (("the Paris", "C"), CITIES, {1}),  # spelt out beats labels
        (("C",), ("D", "C"), {1}),
        (("Oslo",), CITIES, set()),
    ],
)
def test_right_choices(answers, choices, right):
    assert right_choices(answers, choices) == right


@pytest.mark.parametrize(
    ("reply", "city"),
    [
        ("The correct answer is **B**. Option A is in France.", "Paris"),
        ("**B**", "Paris"),
        ("**B) Paris**", "Paris"),
        ("[B]", "Paris"),
        ("A or B", None),
        ("either A or C", None),
        ("not A", None),
        ("It is not B", None),
        ("The answer is not A", None),
        ("The answer isn't A.", None),
        ("B, not A", "Paris"),
        ("It's B, not A.", "Paris"),
        ("Answer: B", "Paris"),
        ("B) Paris", "Paris"),
        ("So the answer is B.", "Paris"),
        ("A looks right at first, but the answer is B.", "Paris"),
        ("The answer is A. Wait. Therefore, the answer is B.", "Paris"),
        ("A dog.", None),
        ("I think so", None),
        ("I", None),
        ("The second one.", "Paris"),
        ("the second option", "Paris"),
        ("I don't think the answer is A.", None),
        ("Either A or C", None),
        ("The answer is A or B.", None),
        ("The answer is either B or C", None),
        ("A and B", None),
        ("A/B", None),
        ("\\boxed{B}", "Paris"),
        ("$\\boxed{\\text{B}}$", "Paris"),
        ("<answer>B</answer>", "Paris"),
        ("I would choose B because Rome is in Italy.", "Paris"),
        ("B is correct.", "Paris"),
        ("B is the right answer, A is wrong.", "Paris"),
        ("Option A is wrong.", None),
        ("Option B is correct.", "Paris"),
        ("B. Rome", None),
        ("The answer is Paris. Option A is London.", "Paris"),
        ("neither A nor B", None),
        ("Vitamin C is healthy", None),
        ("Plan B is Rome", "Rome"),
        ("THE ANSWER IS B", "Paris"),
        ("THE ANSWER IS A DOG", None),
        ("answer: b", "Paris"),
        ("option c", "Rome"),
        ("I pick D.", "Berlin"),
        ("My choice: C", "Rome"),
        ("B.", "Paris"),
        ("b)", "Paris"),
        ("'B'", "Paris"),
        ("“B”", "Paris"),
        ("The answer is: B) Paris", "Paris"),
        ("It is not Paris", None),
        ("I'd say B.", "Paris"),
        ("Probably B", "Paris"),
        ("It must be C!", "Rome"),
        ("B or maybe C", None),
        ("The answer could be A, but it is B.", None),
        ("B seems right", "Paris"),
        ("The answer might be C", "Rome"),
        ("B looks right, but the answer is Paris", "Paris"),
        ("The correct option is D because Berlin is in Germany", "Berlin"),
        ("I believe it's C.", "Rome"),
        ("A: London", "London"),
        ("A) London", "London"),
        ("A. London", "London"),
        ("A", "London"),
        ("a", "London"),
        ("The answer is A because it is in England.", "London"),
        ("A is the answer", "London"),
        ("A is correct", "London"),
        ("It is A.", "London"),
        ("C# is nice", None),
        ("The answer is **(C)** Rome.", "Rome"),
        ("Rule out A. Then B.", "Paris"),
        ("The right answer is A, London", "London"),
        ("Well, B.", "Paris"),
        ("B, Paris", "Paris"),
        ("B - Paris", "Paris"),
        ("Final answer: D", "Berlin"),
        ("I choose A", "London"),
        ("I would not choose A", None),
        ("I can't choose A or B", None),
        ("（Ｂ）", "Paris"),
        ("Option B", "Paris"),
        ("Letter B.", "Paris"),
        ("__B__", "Paris"),
        ("The answer is option A.", "London"),
        ("The answer is the second option (B).", "Paris"),
        ("A. London\nB. Paris\nC. Rome\nAnswer: C", "Rome"),
        ("A. London\nB. Paris", None),
        ("Let me think.\nB", "Paris"),
        ("It's not A, it's B.", "Paris"),
        ("I think B", "Paris"),
        ("Yes, A.", "London"),
        ("The answer is probably not B.", None),
        ("London or Paris", None),
        ("The answer is A lovely one: Rome", "Rome"),
        ("I am sure.", None),
        ("B because it is in France", "Paris"),
        ("Choose B", "Paris"),
        ("The capital is Paris (B).", "Paris"),
        ("No, not B. C.", "Rome"),
        ("Rather than A, I pick B.", "Paris"),
        ("B rather than A", "Paris"),
    ],
)
def test_labels_that_are_stated_negated_discussed_or_several(reply, city):
    found = parse_choice(reply, CITIES)
    assert (CITIES[found] if found is not None else None) == city


ANIMALS = ("cat", "dog", "cow")
TEMPLATES = (
    "{}", "{}.", "Answer: {}", "The answer is {}.", "The correct answer is: {}", "So the answer is {}.", "Option {}.",
    "I choose {}", "I pick option {}, since that is true.", "It's {}.", "I think it is {}.", "My answer is {}!",
    "{} is correct.", "{} is the right answer.", "The answer is option {} because of its fur.", "Final answer: {}",
    "Let me think.\n\n{}", "The best choice is {}.", "I'd go with {}.", "I would say {}.", "It must be {}.", "letter {}",
)  # fmt: skip
NEGATED = (
    "not {}", "It is not {}.", "The answer is not {}", "It isn't {}.", "{} is wrong.", "{} is not the answer", "Neither {}",
    "I don't think it's {}", "Rule out {}.", "{} isn't right", "anything except {}",
)  # fmt: skip
MARKS = ("{}", "**{}**", "*{}*", "__{}__", "`{}`", '"{}"', "“{}”", "'{}'", "({})", "[{}]", "**({})**")
WORDS = (
    "the", "an", "big", "dog", "cat", "is", "it", "not", "so", "answer", "C#", "B-52", "I'm", "a.m.", "U.S.", "option",
    "because", "choose", "a lion", "A lion", "I say", "Option", ".", ",",
)  # fmt: skip


@given(st.sampled_from(TEMPLATES), st.sampled_from(MARKS), st.integers(0, 2))
def test_any_phrase_with_a_marked_label_selects_it(template, mark, index):
    assert parse_choice(template.format(mark.format(label(index))), ANIMALS) == index


@given(
    st.sampled_from(TEMPLATES), st.permutations(range(3)), st.sampled_from([" or ", ", ", "/", " and ", " or maybe "])
)
def test_two_labels_are_unparsed(template, order, between):
    assert parse_choice(template.format(between.join(label(i) for i in order[:2])), ANIMALS) is None


@given(st.sampled_from(NEGATED), st.sampled_from(MARKS), st.integers(0, 2))
def test_a_negated_label_is_not_selected(template, mark, index):
    assert parse_choice(template.format(mark.format(label(index))), ANIMALS) is None


@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join))
def test_articles_pronouns_and_names_are_no_labels(text):
    found = parse_choice(text, ANIMALS)
    assert found is None or contains(text, [ANIMALS[found]])


@given(st.lists(st.sampled_from(["red", "dark red", "blue", "or", "it is", "not", ",", "."]), max_size=8).map(" ".join))
def test_without_labels_a_choice_that_is_contained_is_selected(text):
    choices = ["red", "dark red", "blue"]
    found = parse_choice(text, choices)
    assert found is None or contains(text, [choices[found]])


def test_the_end_of_an_endless_reply_is_parsed():
    assert parse_choice("A or B. " * 10_000 + "So the answer is C.", CITIES) == 2


@pytest.mark.parametrize(
    ("answers", "choices", "problem"),
    [
        (("Paris",), (), ""),
        ((), (), ""),
        (("B",), CITIES, ""),
        (("b", "the paris"), CITIES, ""),
        (("+",), ("+", "-"), ""),
        (("(B)",), CITIES, "answers: '(B)' is neither"),
        (("4",), ("3", "4"), ""),
        (("C",), ("A", "C"), ""),
        (("",), (), "answers: '' has no words"),
        (("?!",), (), "answers: '?!' has no words"),
        (("Oslo",), CITIES, "answers: 'Oslo' is neither the label nor the text of a choice: A (London), B (Paris)"),
        (("B) London",), CITIES, "answers: 'B) London' is neither"),
        (("Paris", "E"), CITIES, "answers: 'E' is neither"),
        (("A",), ("Rome", "rome."), "choices: 'rome.' is the same as 'Rome'"),
        (("A",), ("Rome", ""), "choices: '' has no words"),
        (("A",), ("Rome",), "choices: a multiple-choice question needs two or more"),
        ((), CITIES, "choices: there are no answers"),
        ((None,), (), "answers: None is no text"),
    ],
)
def test_keys_that_can_never_match_are_found(answers, choices, problem):
    found = expectation_problem(answers, choices)
    assert found.startswith(problem)
    assert bool(found) is bool(problem)


@given(st.lists(words, min_size=1, max_size=3), st.lists(words, max_size=4))
def test_a_key_without_a_problem_can_be_matched(answers, choices):
    if expectation_problem(answers, choices):
        return
    for answer in answers:
        if not choices:
            assert contains(f"Well, {answer}.", [answer])
        else:
            (index,) = right_choices([answer], choices)
            assert parse_choice(label(index), choices) == index or any(len(choice) == 1 for choice in choices)


@pytest.mark.parametrize(
    ("reply", "city"),
    [
        ("A) London - incorrect\nB) Paris - incorrect\nC) Rome - correct\nD) Berlin - incorrect", "Rome"),
        ("A. London: wrong.\nB. Paris: right.\nC. Rome: wrong.", "Paris"),
        ("Let's go through them. A: no. B: no. C: yes! D: no.", "Rome"),
        ("A \u274c\nB \u274c\nC \u2705\nD \u274c", "Rome"),
        ("(A) false (B) false (C) true (D) false", "Rome"),
        ("* **A**: Incorrect. London is far.\n* **B**: Correct. Paris is near.\n* **C**: Incorrect.", "Paris"),
        ("A: true\nB: true\nC: false", None),
        ("A: London. B: yes.", None),  # only one has a verdict
        ("A) wrong\nB) wrong", None),
        ("A, B, C are wrong. D.", "Berlin"),  # a negation holds for a whole list
        ("Not A, B or C; D", "Berlin"),
        ("It's not A or B, so C.", "Rome"),
        ("Eliminate A and C. Between B and D, D is right.", "Berlin"),
        ("Unlike A, B is correct", "Paris"),
        ("It isn't A, it's B.", "Paris"),
        ("The answer is not A but B.", "Paris"),
        ("B is not correct, C is.", "Rome"),
        ("D (not A)", "Berlin"),
        ("Hmm, is it A? No, it's B.", "Paris"),  # a question is no answer
        ("I'd rule out A and B. C or D? D.", "Berlin"),
        ("B? Not sure.", None),
        ("Maybe B?", "Paris"),
        ("Correct answer - D", "Berlin"),
        ("The answer, I believe, is D.", "Berlin"),
        ("The answer is, of course, D", "Berlin"),
        ("Of course, D.", "Berlin"),
        ("It has to be A.", "London"),
        ("I would pick option c here.", "Rome"),
        ("B is more likely than C.", "Paris"),
        ("A is a good choice, but B is better", "Paris"),
        ("Option two", "Paris"),
        ("Choice 4.", "Berlin"),
        ("The last one.", "Berlin"),
        ("Option 7", None),
        ("\\(B\\)", "Paris"),
    ],
)
def test_replies_as_language_models_write_them(reply, city):
    found = parse_choice(reply, CITIES)
    assert (CITIES[found] if found is not None else None) == city


@given(
    st.permutations(range(4)),
    st.sampled_from([("wrong", "right"), ("no", "yes"), ("\u2717", "\u2713")]),
    st.sampled_from([": ", " - "]),
)
def test_of_options_with_a_verdict_each_the_approved_one_is_selected(order, verdicts, between):
    lines = [f"{label(i)}) {CITIES[i]}{between}{verdicts[i == 2]}" for i in order]
    assert parse_choice("\n".join(lines), CITIES) == 2


@pytest.mark.parametrize(
    ("reply", "choices", "index"),
    [
        ("Yes, there is no doubt.", ["No", "Yes"], 1),
        ("No. Yes would be wrong.", ["Yes", "No"], 1),
        ("False; it is not true.", ["True", "False"], 1),
        ("$5", ["$5", "$50"], 0),
        ("The answer is 3.", ["1", "2", "3", "4"], 2),
    ],
)
def test_choices_that_are_words_of_any_sentence_or_amounts(reply, choices, index):
    assert parse_choice(reply, choices) == index
