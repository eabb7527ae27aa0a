"""A small data set: what eight harbours are known for."""

from __future__ import annotations

TOWNS = ("Arden", "Bexley", "Corvo", "Dunmore", "Elvas", "Farsund", "Gmunden", "Hythe")
GOODS = ("copper", "salt", "wool", "tea", "glass", "paper", "honey", "silk")

PASSAGES = [
    {
        "id": f"p{number}",
        "text": f"The harbour of {town} was built in {1801 + 7 * number}. Its merchants grew rich on {goods}.",
    }
    for number, (town, goods) in enumerate(zip(TOWNS, GOODS, strict=True))
]
QUESTIONS = [
    {"id": f"q{number}{kind}", "question": question, "passage_id": f"p{number}", "answers": [answer]}
    for number, (town, goods) in enumerate(zip(TOWNS, GOODS, strict=True))
    for kind, question, answer in (
        ("a", f"When was the harbour of {town} built?", str(1801 + 7 * number)),
        ("b", f"What did the merchants of {town} grow rich on?", goods),
    )
]
