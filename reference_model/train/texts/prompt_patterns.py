"""Few-shot prompt patterns for sentence generation: first words, and examples by topic."""

from __future__ import annotations

import random
from dataclasses import dataclass

EXAMPLES = 3  # examples per prompt


@dataclass(frozen=True, slots=True)
class PromptPattern:
    """Prompt pattern of a kind of sentence. `openers`: first words; `examples`: lines "topic: sentence"."""

    kind: str
    label: str
    share: float
    intro: str
    openers: str
    examples: str

    def prompt(self, rng: random.Random) -> str:
        """Returns the prompt with random examples, up to the next topic."""
        pairs = (line.strip().split(": ", 1) for line in rng.sample(self.examples.strip().splitlines(), EXAMPLES))
        shown = "".join(f"Topic: {topic}\n{self.label}: {sentence}\n\n" for topic, sentence in pairs)
        return f"{self.intro}\n\n{shown}Topic:"


PATTERNS = (
    PromptPattern(
        "question",
        "Question",
        0.38,
        "Questions that people ask about all sorts of topics.",
        "Who Who What What When Where Where Which Why Why How How How Is Is Are Was Were Do Does Does Did Can Could Should"
        " Would Will Has Have In On At If",
        """
        guitar: How many strings does a guitar have?
        Napoleon: On which island was Napoleon born?
        volcano: What makes a volcano erupt?
        Brazil: Which ocean lies to the east of Brazil?
        penicillin: Who discovered penicillin, and in what year?
        owl: Why can an owl turn its head so far?
        Titanic: Who directed the film Titanic?
        cinnamon: Is cinnamon made from the bark of a tree?
        Shakespeare: Did Shakespeare ever leave England?
        tunnel: How long is the longest railway tunnel in the world?
        flour: Can I use rice flour instead of wheat flour in a cake?
        Denmark: When did Denmark join the European Union?
        anxious: What helps when you feel anxious at night?
        translate: Could you translate this letter into Spanish for me?
        Picasso: In what city did Picasso paint his most famous work?
        goalkeeper: May a goalkeeper leave the box with the ball?
        rusty: How do I get a rusty screw out of a door?
        Venus: Is it true that a day on Venus is longer than its year?
        """,
    ),
    PromptPattern(
        "statement",
        "Fact",
        0.24,
        "Short facts about all sorts of topics, one sentence each.",
        "The The The A An In In On At Most Many Some Every It There They One Two Three About After When If For With You People"
        " Only No Yes His Her During Because",
        """
        guitar: A classical guitar has six strings.
        Napoleon: In eighteen twelve, Napoleon marched to Moscow and lost most of his army.
        volcano: The ash of a volcano makes the soil very rich.
        Brazil: Most people in Brazil speak Portuguese.
        penicillin: Alexander Fleming found penicillin by accident.
        owl: At night, an owl can hear a mouse under the snow.
        Titanic: The Titanic sank on its very first voyage.
        copper: Wires are made of copper because it conducts electricity so well.
        Tokyo: About fourteen million people live in Tokyo.
        cheese: It takes ten liters of milk to make one kilogram of cheese.
        Mozart: Mozart wrote his first symphony when he was eight years old.
        bridge: The bridge was designed by a Swiss engineer and opened in the spring.
        slowly: Glaciers move very slowly, often less than a meter a day.
        honest: Abraham Lincoln was known as an honest man.
        freeze: Salt water will freeze at a lower temperature than fresh water.
        Friday: The shop is closed on Friday and on Sunday.
        """,
    ),
    PromptPattern(
        "command",
        "Request",
        0.16,
        "Requests that people make to a voice assistant.",
        "Please Please Play Tell Tell Show Find Find Book Add Call Send Read Write Explain Give Set Turn Open Put Buy Order"
        " Search Look Compare Describe Name List Check Help Make Start Stop Let Can Could Could Would I",
        """
        guitar: Play me something slow with an acoustic guitar.
        Napoleon: Tell me how Napoleon lost the battle of Waterloo.
        volcano: Show me pictures of the volcano that erupted last week.
        Brazil: Book two seats on the morning flight to Brazil.
        sugar: Add brown sugar and vanilla to my shopping list.
        Maria: Please call Maria and say that I will be ten minutes late.
        oven: Remind me to turn off the oven in half an hour.
        physics: Explain the second law of physics as if I were five.
        Dublin: Find a cheap hotel in Dublin near the river.
        poem: Write a short poem about the first snow.
        lights: Dim the lights in the living room, would you?
        election: Read me the latest news about the election.
        quietly: Wake me up quietly at a quarter to seven.
        jacket: Could you order the blue jacket that I liked, in medium?
        Mozart: Turn off the radio and put on some Mozart instead.
        compare: Let's compare the prices of the two phones.
        """,
    ),
    PromptPattern(
        "talk",
        "Remark",
        0.22,
        "Things that people say in everyday conversation about all sorts of topics.",
        "I I I We We My My You Your Our He She They It This That These There When If Have Do Did Are Is Why Well Oh No Yes"
        " Last Next Today Maybe Thanks Nobody Everyone Let Can How What Sometimes",
        """
        guitar: My brother has played the guitar since he was nine.
        Napoleon: I never understood why Napoleon marched to Moscow.
        volcano: We climbed the volcano last summer, and it was freezing at the top.
        Brazil: Have you ever been to Brazil?
        sugar: I'd rather have my coffee without sugar, thanks.
        Maria: Maria told me that you are moving to a new flat.
        oven: Oh no, I think I left the oven on!
        physics: Honestly, physics was never my best subject at school.
        train: The train was late again, so I missed the meeting.
        doctor: You should really see a doctor about that cough.
        rain: If the rain stops, let's go for a walk by the lake.
        salad: This salad needs a bit more lemon, don't you think?
        Edinburgh: When we lived in Edinburgh, it got dark at four in winter.
        promise: He made me a promise, and he kept it.
        clumsy: Sorry, I'm so clumsy this morning.
        Beatles: There is nobody in my family who doesn't like the Beatles.
        """,
    ),
)
