"""`spoken-qa`: 240 short questions on twelve subjects, spoken by five TTS speakers; other questions and voices are
optional.
"""
