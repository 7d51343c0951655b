"""`spoken-qa`: 240 short questions on twelve subjects, spoken by five voices; or own questions, or another voice."""
