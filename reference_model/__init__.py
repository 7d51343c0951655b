"""Freeze-Omni (arXiv 2411.00774): a frozen text LLM that hears and speaks, live. One net a file, no net imports another.

    audio -> features -> encoder -> adapter -> [frozen LLM] -> state head: keep listening, answer, ignore
                                                   |
                                         hidden states + text -> speech decoder -> codec tokens -> codec -> audio

`model.py` puts the nets together, `inference/session.py` runs one live conversation, whose caches are all in
`inference/conversation.py`.
"""
