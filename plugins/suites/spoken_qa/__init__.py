"""`spoken-qa`: 240 short questions on twelve subjects, spoken by ten TTS speakers; other questions and voices are
optional.
"""
