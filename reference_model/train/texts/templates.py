"""Sentences made from templates: questions, requests, small talk, statements with names, numbers, dates and places."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence

from reference_model.train.texts import word_lists
from reference_model.train.texts.question_sets import MENTIONS, REPLIES, FoundSentence
from reference_model.train.texts.sentence_casing import cardinal, ordinal, sentence, year

SOURCE = "made"
LISTS: dict[str, Sequence[str]] = {
    "name": word_lists.NAMES,
    "surname": word_lists.SURNAMES,
    "city": word_lists.CITIES,
    "country": word_lists.COUNTRIES,
    "animal": word_lists.ANIMALS,
    "food": word_lists.FOODS,
    "thing": word_lists.THINGS,
    "job": word_lists.JOBS,
    "subject": word_lists.SUBJECTS,
    "adjective": word_lists.ADJECTIVES,
    "colour": word_lists.COLOURS,
    "verb": word_lists.VERBS,
    "place": word_lists.PLACES,
    "day": word_lists.DAYS,
    "month": word_lists.MONTHS,
    "when": word_lists.WHENS,
    "unit": word_lists.UNITS,
    "element": word_lists.ELEMENTS,
    "body": word_lists.BODIES,
    "planet": word_lists.PLANETS,
    "language": word_lists.LANGUAGES,
}
NUMBERS: dict[str, Callable[[random.Random], str]] = {
    "small": lambda rng: cardinal(rng.randrange(2, 21)),
    "number": lambda rng: cardinal(
        rng.choice([rng.randrange(1, 100), rng.randrange(100, 1000), rng.randrange(1, 90) * 1000])
    ),
    "nth": lambda rng: ordinal(rng.randrange(1, 32)),
    "year": lambda rng: year(rng.randrange(1200, 2030)),
    "clock": lambda rng: (
        f"{cardinal(rng.randrange(1, 13))} {rng.choice(['thirty', 'fifteen', 'forty-five', 'ten', 'twenty'])}"
    ),
    "decimal": lambda rng: f"{cardinal(rng.randrange(0, 100))} point {cardinal(rng.randrange(1, 10))}",
}
QUESTIONS = """
What is the capital of {country}? | How far is {city} from {city2}? | Which is bigger, {country} or {country2}?
What language do people speak in {country}? | How do you say {thing} in {language}? | What do {animal}s eat?
How long does {article animal} live? | Is {article animal} faster than {article animal2}? | Where do {animal}s live?
What sound does {article animal} make? | What is {number} plus {number2}? | What is {number} minus {small}?
What is {small} times {small2}? | What is {number} divided by {small}? | Is {number} larger than {number2}?
What happened in {year}? | Who ruled {country} in {year}? | What was the population of {city} in {year}?
How many {unit} are there in {number} {unit2}? | What is the chemical symbol for {element}? | Is {element} a metal?
Which is heavier, {element} or {element2}? | At what temperature does {element} melt? | How far away is {planet}?
How big is {planet}? | How long does it take to get to {planet}? | What do we need the {body} for?
Why would my {body} hurt after running? | What is the best way to learn {subject}? | Why is {subject} important?
Who was the first person to study {subject}? | Can you recommend a book about {subject}? | What does {article job} do?
How much money does {article job} earn in {country}? | How do I become {article job}? | How do I cook {food}?
Is {food} good for you? | Which is healthier, {food} or {food2}? | What goes well with {food}? | Where does {food} come from?
What is the weather like in {city} {when}? | What time is it in {city}? | When does the train to {city} leave?
How much does a ticket to {city} cost? | Is there {article job} near {place}? | Where can I buy {article colour} {thing}?
Who invented the {thing}? | What is {article thing} made of? | How does {article thing} work? | Where did {name} put the {thing}?
Why is the {thing} so {adjective}? | Did {name} call you {when}? | When is {name}'s birthday?
Does {name} {surname} still work as {article job}? | Have you ever been to {city}? | Do you know how to {verb}?
What should I pack for a trip to {country} in {month}? | How many days are left until the {nth} of {month}?
What day of the week is {month} {nth}? | Which {animal} is the most {adjective}? | Are {animal}s more {adjective} than {animal2}s?
What is the opposite of {adjective}? | What rhymes with {thing}? | How do you spell {adjective}? | What is the plural of {animal}?
What is the currency of {country}? | Which river flows through {city}? | Who wrote the book about the {adjective} {animal}?
What color is {article animal}? | Which planet is closer to the sun, {planet} or {planet2}? | Is {city} north of {city2}?
"""
REQUESTS = """
Please turn off the light near {place}. | Turn the heating up to {small} degrees. | Set an alarm for {clock}.
Remind me to call {name} {when}. | Set a timer for {small} minutes. | Play some {adjective} music. | Play the next song.
Send a message to {name} {surname}. | Add {food} and {food2} to my shopping list. | Remove {food} from the list.
Book a table for {small} people on {day}. | Find me a hotel in {city}. | Call a taxi to {place}. | Read me the news from {country}.
Tell me a story about {article adjective} {animal}. | Tell me a joke about {article job}. | Sing a song about {city}.
Explain {subject} to me in simple words. | Translate this sentence into {language}. | Give me {small} facts about {animal}s.
Write a short poem about the {colour} {thing}. | Make a list of {small} things to see in {city}. | Show me the way to {place}.
Name {small} countries near {country}. | Count from {small} to {number}. | Describe {article colour} {thing} to me.
Order {small} boxes of {food} for {day}. | Cancel my meeting with {name} on {day}. | Move my appointment to {clock} on {day}.
Could you speak about {subject} for a minute? | Can you help me with my {subject} homework? | Let me know when {name} arrives.
Please compare {city} and {city2} for me. | Tell me about {name} {surname}, the {job}. | Please open the {thing} for {name}.
"""
TALK = """
How are you {when}, {name}? | My name is {name} {surname}. | I live in {city}, but I grew up in {country}. | I work as {article job}.
I had {food} and {food2} for breakfast. | My {animal} is called {name}. | I bought {article colour} {thing} {when}.
I am going to {place} with {name}. | I really like {subject}. | My sister is learning {language}. | I would love to visit {country}.
{name} and {name2} went to {city} on {day}. | I was born on the {nth} of {month}. | We moved here in {year}.
My favorite food is {food}. | I don't know how to {verb}. | I'm thinking about becoming {article job}. | I lost my {thing} near {place}.
It was {adjective} and {adjective2} {when}. | I cannot find the {thing}. | The {thing} is near {place}. | Nice to meet you, {name}.
I feel {adjective} {when}. | I have a pain in my {body}. | I have lived here for {small} years. | Thanks, that was very {adjective}.
Well, I think {name} was right. | I want to talk about {subject}. | Do you want to hear about my trip to {city}?
"""
STATEMENTS = """
{city} is about {number} {unit} from {city2}. | The capital of that region is {city}. | The {animal} is {article adjective} animal.
{article animal} can live for about {small} years. | The {job} from {country} was born in {year}. | {name} {surname} was a famous {job}.
The answer is {number}. | It is about {number} {unit}. | There are {number} {unit} in total. | It happened in {year}.
The war ended in {month} {year}. | {number} plus {small} makes {number2}. | The distance is {decimal} {unit}.
It was founded in {year} by {name} {surname}. | {country} and {country2} share a long border. | People in {country} speak {language}.
The {thing} was invented in {year}. | {element} is heavier than {element2}. | {planet} is further away than {planet2}.
The {body} can be an important part of the body. | {article job} needs to know a lot about {subject}. | Most {animal}s are {adjective}.
You need {small} cups of {food} and some {food2}. | {food} with {food2} is a popular dish in {country}.
The weather in {city} will be {adjective} and {adjective2} on {day}. | The train to {city} leaves at {clock} from {place}.
Your meeting with {name} is at {clock} on {day}. | The {nth} of {month} is a {day}. | I am sorry, I do not know much about {subject}.
Yes, {animal}s are usually {adjective}. | No, {country} is not in that part of the world. | You can see {planet} {when}.
{name} won the race in {decimal} seconds. | The tower is {number} feet tall. | About {number} people live there.
The color of the {thing} is {colour}. | The opposite of {adjective} is not {adjective2}. | It costs {number} dollars.
{subject} is the study of many {adjective} things. | The {adjective} {thing} belongs to {name} {surname}.
"""
KINDS = {"question": QUESTIONS, "command": REQUESTS, "talk": TALK, "statement": STATEMENTS}
SHARES = {"question": 0.3, "command": 0.2, "talk": 0.15, "statement": 0.2, "mention": 0.15}
SLOT = re.compile(r"\{(article )?([a-z]+)2?\}")


def fill_templates(count: int, names: Sequence[str], seed: int) -> Iterator[FoundSentence]:
    """Yields every short phrase and `count` sentences from templates (repeats are possible).

    `names`: people, places and things to mention.
    """
    rng = random.Random(f"{seed} made")
    for kind, phrases in (("backchannel", word_lists.BACKCHANNELS), ("interruption", word_lists.INTERRUPTIONS)):
        for phrase in phrases:
            yield FoundSentence(sentence(phrase, {}), kind, SOURCE)
    templates = {kind: [t.strip() for t in re.split(r"[|\n]", text) if t.strip()] for kind, text in KINDS.items()}
    kinds = [kind for kind in SHARES if kind != "mention" or names]
    for kind in rng.choices(kinds, [SHARES[kind] for kind in kinds], k=count):
        yield _mention(rng, names) if kind == "mention" else _fill(rng, rng.choice(templates[kind]), kind)


def _mention(rng: random.Random, names: Sequence[str]) -> FoundSentence:
    template = rng.choice(MENTIONS if rng.random() < 0.6 else REPLIES)
    kind = "question" if template.endswith("?") else "command" if template in MENTIONS else "statement"
    return FoundSentence(sentence(template.format(a=rng.choice(names)), {}), kind, SOURCE)


def _fill(rng: random.Random, template: str, kind: str) -> FoundSentence:
    text = SLOT.sub(lambda slot: _word(rng, slot[2], bool(slot[1])), template)
    text = re.sub(
        r"\b(mouse|goose|wolf|sheep|fish|fox|walrus|hippopotamus|rhinoceros|ostrich|octopus)s\b", _plural, text
    )
    return FoundSentence(sentence(text, {}), kind, SOURCE)


def _word(rng: random.Random, slot: str, article: bool) -> str:
    word = NUMBERS[slot](rng) if slot in NUMBERS else rng.choice(LISTS[slot])
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}" if article else word


def _plural(match: re.Match[str]) -> str:
    odd = {"mouse": "mice", "goose": "geese", "wolf": "wolves", "sheep": "sheep", "fish": "fish"}
    return odd.get(match[1], match[1] + "es")
