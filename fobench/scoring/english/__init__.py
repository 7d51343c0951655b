"""English text as a scorer compares it: tokens, number words, units, contractions and spelling."""
