"""Freeze-Omni (arXiv 2411.00774): a frozen text LLM with streaming speech input and output. One network per file.

    audio -> features -> encoder -> adapter -> [frozen LLM] -> state head: keep listening, answer, ignore
                                                   |
                                         hidden states + text -> speech decoder -> codec tokens -> codec -> audio

`model.py` combines the networks, `inference/session.py` runs one live conversation, and `inference/conversation.py` holds its
state.
"""
