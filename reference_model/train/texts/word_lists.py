"""Word lists for the templates: one string per list, entries separated by commas."""

from __future__ import annotations


def _split(text: str) -> tuple[str, ...]:
    return tuple(" ".join(entry.split()) for entry in text.split(",") if entry.strip())


NAMES = _split("""Anna, Ben, Clara, David, Emma, Frank, Grace, Henry, Isabel, Jack, Karen, Liam, Maria, Nathan, Olivia,
 Peter, Quinn, Rachel, Samuel, Teresa, Umar, Victoria, William, Yusuf, Zoe, Aisha, Boris, Chloe, Dmitri, Elena, Fatima,
 George, Hannah, Ivan, Julia, Kofi, Laura, Miguel, Nadia, Oscar, Priya, Raj, Sofia, Thomas, Wei, Ximena, Yuki, Adam,
 Beatrice, Carlos, Diana, Edward, Fiona, Gustav, Helen, Ian, Jasmine, Kevin, Lucy, Mohammed, Nora, Owen, Paula, Robert,
 Susan, Timothy, Ursula, Vincent, Wendy, Xavier, Yvonne, Zachary, Albert, Brenda, Christopher, Deborah, Eric, Florence,
 Gabriel, Harriet, Ingrid, James, Kathleen, Leonard, Margaret, Nicholas, Patricia, Richard, Stephanie, Theodore""")
SURNAMES = _split("""Smith, Johnson, Williams, Brown, Garcia, Miller, Davis, Martinez, Wilson, Anderson, Taylor, Moore,
 Jackson, Lee, Thompson, White, Harris, Clark, Lewis, Robinson, Walker, Young, Allen, King, Wright, Scott, Torres, Nguyen,
 Hill, Green, Adams, Baker, Campbell, Mitchell, Carter, Roberts, Khan, Patel, Silva, Kowalski, Schmidt, Rossi, Tanaka,
 Kim, Chen, Ivanov, Murphy, O'Brien, Svensson, Dubois""")
CITIES = _split("""London, Paris, Berlin, Madrid, Rome, Vienna, Prague, Warsaw, Budapest, Athens, Istanbul, Cairo, Lagos,
 Nairobi, Cape Town, Moscow, Beijing, Shanghai, Tokyo, Osaka, Seoul, Bangkok, Singapore, Jakarta, Manila, Sydney,
 Melbourne, Auckland, Mumbai, Delhi, Karachi, Dubai, Tehran, Baghdad, Jerusalem, New York, Boston, Chicago, Houston,
 Dallas, Denver, Seattle, Portland, San Francisco, Los Angeles, San Diego, Las Vegas, Phoenix, Atlanta, Miami, Toronto,
 Montreal, Vancouver, Mexico City, Havana, Bogota, Lima, Santiago, Buenos Aires, Rio de Janeiro, Lisbon, Dublin,
 Edinburgh, Manchester, Brussels, Amsterdam, Copenhagen, Oslo, Stockholm, Helsinki, Zurich, Geneva, Milan, Venice,
 Naples, Barcelona, Munich, Hamburg, Frankfurt, Kiev, Casablanca, Accra, Hanoi, Philadelphia, Detroit, Nashville""")
COUNTRIES = _split("""France, Germany, Spain, Italy, Portugal, Greece, Turkey, Egypt, Nigeria, Kenya, South Africa, Russia,
 China, Japan, South Korea, Thailand, Vietnam, Indonesia, the Philippines, Australia, New Zealand, India, Pakistan, Iran,
 Iraq, Israel, Saudi Arabia, the United States, Canada, Mexico, Cuba, Colombia, Peru, Chile, Argentina, Brazil, Ireland,
 Scotland, England, Wales, Belgium, the Netherlands, Denmark, Norway, Sweden, Finland, Iceland, Switzerland, Austria,
 Poland, Hungary, Romania, Bulgaria, Ukraine, Morocco, Algeria, Ethiopia, Ghana, Mongolia, Nepal, Bolivia, Ecuador,
 Venezuela, Jamaica, Malaysia, Cambodia, Bangladesh, Afghanistan, Croatia, Serbia, Madagascar, Tanzania, Uganda""")
ANIMALS = _split("""dog, cat, horse, cow, pig, sheep, goat, chicken, duck, goose, rabbit, mouse, rat, squirrel, fox, wolf,
 bear, deer, moose, lion, tiger, leopard, cheetah, elephant, giraffe, zebra, hippopotamus, rhinoceros, monkey, gorilla,
 chimpanzee, kangaroo, koala, panda, penguin, ostrich, eagle, hawk, owl, parrot, sparrow, crow, swan, whale, dolphin,
 shark, octopus, squid, salmon, trout, frog, toad, lizard, snake, turtle, crocodile, spider, ant, bee, wasp, butterfly,
 moth, beetle, mosquito, snail, worm, bat, camel, donkey, hamster, hedgehog, otter, beaver, seal, walrus, jellyfish""")
FOODS = _split("""bread, butter, cheese, milk, yogurt, eggs, rice, pasta, noodles, pizza, soup, salad, sandwiches, chicken,
 beef, pork, bacon, sausages, fish, shrimp, potatoes, tomatoes, onions, garlic, carrots, cabbage, spinach, broccoli,
 mushrooms, peppers, beans, lentils, corn, cucumbers, apples, bananas, oranges, lemons, grapes, strawberries, cherries,
 peaches, pears, mangoes, pineapple, watermelon, nuts, almonds, honey, sugar, salt, vinegar, olive oil, chocolate, cake,
 cookies, ice cream, pancakes, coffee, tea, orange juice, lemonade, wine, beer, water, cereal, oatmeal, curry, tacos""")
THINGS = _split("""table, chair, lamp, window, door, mirror, carpet, pillow, blanket, bottle, cup, plate, fork, knife, spoon,
 pan, oven, fridge, washing machine, phone, computer, keyboard, camera, clock, watch, umbrella, wallet, bag, suitcase,
 jacket, shirt, dress, hat, scarf, gloves, shoes, boots, bicycle, car, truck, train, boat, airplane, engine, hammer,
 screwdriver, ladder, rope, bucket, broom, shovel, pencil, notebook, newspaper, letter, envelope, ticket, map, key,
 candle, guitar, piano, violin, drum, trumpet, flute, painting, statue, bridge, tower, castle, fence, garden, roof""")
JOBS = _split("""doctor, nurse, dentist, teacher, student, lawyer, judge, police officer, firefighter, pilot, driver, farmer,
 fisherman, baker, butcher, cook, waiter, barber, tailor, carpenter, plumber, electrician, engineer, architect, scientist,
 astronomer, chemist, biologist, historian, writer, poet, journalist, editor, painter, sculptor, musician, singer, dancer,
 actor, director, photographer, librarian, accountant, manager, secretary, soldier, sailor, astronaut, mechanic""")
SUBJECTS = _split("""history, geography, mathematics, physics, chemistry, biology, astronomy, geology, medicine, psychology,
 philosophy, economics, politics, law, music, painting, sculpture, architecture, literature, poetry, theatre, film,
 photography, cooking, gardening, football, basketball, tennis, swimming, cycling, chess, computing, engineering,
 electricity, magnetism, gravity, light, sound, heat, energy, evolution, genetics, the human body, the brain, the weather,
 the climate, volcanoes, earthquakes, oceans, rivers, mountains, deserts, forests, the planets, the moon, the sun, stars,
 dinosaurs, insects, birds, mammals, reptiles, plants, flowers, metals, atoms, religion, mythology, language, money""")
ADJECTIVES = _split("""big, small, tall, short, long, heavy, light, fast, slow, old, young, new, hot, cold, warm, cool, wet, dry,
 bright, dark, loud, quiet, hard, soft, strong, weak, rich, poor, happy, sad, angry, calm, clever, funny, serious, strange,
 common, rare, simple, difficult, dangerous, safe, beautiful, ugly, clean, dirty, cheap, expensive, famous, popular,
 healthy, useful, gentle, curious, friendly, famous, delicious, boring, exciting, important, thick, thin, round, flat""")
COLOURS = _split(
    """red, blue, green, yellow, orange, purple, pink, brown, black, white, grey, silver, golden, dark blue"""
)
VERBS = _split("""swim, run, jump, dance, sing, cook, bake, read, write, draw, paint, drive, fly, climb, ski, skate, fish, hunt,
 sew, knit, type, whistle, juggle, meditate, garden, travel, study, work, rest, sleep, laugh, listen, argue, teach""")
PLACES = _split("""the kitchen, the garden, the office, the school, the library, the museum, the park, the station, the airport,
 the hospital, the bank, the post office, the market, the bakery, the church, the theatre, the cinema, the restaurant, the
 hotel, the beach, the harbour, the forest, the river, the lake, the mountains, the farm, the factory, the gym, the pool,
 the town hall, the living room, the bedroom, the bathroom, the cellar, the attic, the parking lot, the bus stop""")
DAYS = _split("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday")
MONTHS = _split("January, February, March, April, May, June, July, August, September, October, November, December")
WHENS = _split("""today, tomorrow, yesterday, tonight, this morning, this afternoon, this evening, next week, last week, next
 month, last year, on the weekend, after lunch, before dinner, right now, later, in an hour, at noon, at midnight""")
UNITS = _split("""meters, kilometers, miles, feet, inches, centimeters, grams, kilograms, pounds, tons, liters, gallons, seconds,
 minutes, hours, days, weeks, months, years, degrees, percent, dollars, people, times, pages, steps, floors, votes""")
ELEMENTS = _split("""hydrogen, helium, carbon, nitrogen, oxygen, sodium, magnesium, aluminum, silicon, sulfur, chlorine,
 potassium, calcium, iron, copper, zinc, silver, tin, iodine, gold, mercury, lead, uranium, neon, nickel, platinum""")
BODIES = _split("""heart, brain, liver, lungs, stomach, kidneys, skin, bones, muscles, blood, eyes, ears, nose, tongue, teeth,
 throat, shoulder, elbow, wrist, fingers, knee, ankle, toes, spine, skull, ribs, nerves, veins""")
PLANETS = _split("Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus, Neptune, Pluto, the moon, the sun")
LANGUAGES = _split("""English, French, German, Spanish, Italian, Portuguese, Russian, Arabic, Hindi, Chinese, Japanese, Korean,
 Turkish, Greek, Latin, Hebrew, Swedish, Dutch, Polish, Swahili, Persian, Vietnamese""")
BACKCHANNELS = _split("""uh-huh, mm-hmm, right, okay, yeah, yes, sure, I see, got it, oh, oh really, really, wow, nice, great,
 cool, makes sense, of course, exactly, true, no way, is that so, interesting, fair enough, hmm, ah, ah okay, yep, yup,
 that's right, oh I see, go on, all right, oh wow, good, very good, oh no, I know, I guess, mhm, huh, oh nice, that's true""")
INTERRUPTIONS = _split("""stop, stop it, stop there, stop talking, wait, wait a second, wait a minute, hold on, hold on a
 second, hang on, one moment, just a moment, sorry to interrupt, let me stop you there, excuse me, hey, hey stop, no no no,
 no wait, no that's wrong, that's not what I meant, that's enough, enough, thanks that's enough, okay stop, please stop,
 be quiet, quiet please, pause, pause please, cancel, cancel that, never mind, forget it, actually never mind, shut up
 please, wait I have another question, can I ask something else, hold that thought, let's talk about something else, skip
 that, go back, say that again, repeat that please, what was that, sorry what, pardon, slower please, louder please""")
COMMON = _split(
    "may, march, will, wake, wake up, hope, frank, spell, stage, state, general"
)  # names that are mostly words
