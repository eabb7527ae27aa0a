"""Texts of many kinds that show the quantiser which values a model's activations take."""

from __future__ import annotations

TEXTS = (
    "The river rises in the hills north of the town and reaches the sea after some eighty kilometres.",
    "What year did the company open its first factory abroad, and how many people worked there?",
    "In 1854 the council voted, by 17 to 12, to spend £3,400 on a new bridge; the work took six years and cost"
    " twice that.",
    "Proteins are folded chains of amino acids. Their shape decides what they bind, and a single exchanged "
    "residue may undo it. Enzymes speed up reactions by factors of a million or more, often with a metal ion "
    "at the active site.",
    "who wrote the treaty",
    "Revenue for the third quarter was $12.4 million (+8.3 % year on year), while operating costs fell to $9.1"
    " million. The board proposes a dividend of 0.45 per share, payable on 15 May to holders registered on 30 "
    "April.",
    "def mean(values):\n    total = sum(values)\n    return total / len(values) if values else 0.0",
    "| name | quantity | price |\n| bolt M8 | 240 | 0.12 |\n| washer | 500 | 0.03 |\n| bracket, left | 12 | 4.80 |",
    'She laughed, shut the door behind her, and walked down to the harbour without looking back. "Tomorrow," '
    'she had said, "tomorrow we shall see who was right." The gulls were the only ones awake at that hour.',
    "La biblioteca abre de lunes a viernes, de nueve a ocho; los sábados cierra a las dos de la tarde.",
    "El sistema inmunitario distingue lo propio de lo ajeno mediante receptores que reconocen fragmentos de "
    "proteínas. Cuando una célula infectada los muestra en su superficie, los linfocitos T la destruyen.",
    "¿Cuántos habitantes tenía la ciudad antes de la guerra?",
    "Der Antrag ist schriftlich bis zum 31. März einzureichen; später eingehende Anträge werden nicht berücksichtigt.",
    "Les travaux de restauration du clocher, commencés en 1987, ont duré près de neuf ans et coûté plus cher "
    "que prévu.",
    "To reset the device, hold the power button for ten seconds until the light turns amber, then release it. "
    "If the light stays red, disconnect the battery, wait one minute and try again. Do not open the housing: "
    "there are no parts inside that you can repair, and the warranty ends when the seal is broken.",
    "Theorem 2. Let f be continuous on [a, b] with f(a) < 0 < f(b). Then there is a c in (a, b) with f(c) = 0.",
    "The empire's eastern provinces were richer, more urban and better defended than the western ones. When "
    "the frontier on the Rhine gave way in the winter of 406, taxes from Gaul and Spain dried up, armies went "
    "unpaid, and generals made and unmade emperors who ruled little more than the palace at Ravenna. The east,"
    " with its double walls, its granaries and its gold, outlived that crisis by a thousand years. Historians "
    "have blamed lead pipes, barbarians, bureaucrats, bishops and the weather; most now think that several of "
    "these mattered, and that none alone would have been enough.",
    "Minutes of the meeting held on Tuesday 4 June. Present: the chair, the treasurer and five members. "
    "Apologies were received from two. The minutes of the last meeting were approved. The treasurer reported a"
    " balance of 2,318.60. It was agreed to buy a second projector, not to exceed 600, and to move the summer "
    "fair to the second weekend of July because the school hall is closed. Any other business: the lock on the"
    " shed needs replacing.",
    "Photons of higher frequency carry more energy, so ultraviolet light can break bonds that infrared light "
    "only shakes. Ozone absorbs most of what arrives below 300 nanometres. Chlorine set free from refrigerants"
    " destroys ozone in a cycle that uses it up again and again, which is why small amounts did great harm, "
    "and why the ban worked.",
    "https://example.org/docs/v2/index.html#install | contact: support@example.org | +44 20 7946 0018",
    "Patient, 54, presents with intermittent chest pain on exertion, relieved by rest. Blood pressure 148/92 "
    "mmHg, pulse 76. ECG normal at rest. Started on a beta blocker; exercise test requested. Follow-up in two "
    "weeks.",
    "The lion, the witch, the wardrobe, the lamp-post, the faun: children remember things before they remember plots.",
    "東京は日本の首都であり、世界で最も人口の多い都市圏の一つである。",
    "Москва является столицей России и крупнейшим городом страны.",
    "ok",
    "1.2.3 Scope. This standard applies to lifting equipment with a rated capacity above 500 kg. It does not "
    "apply to passenger lifts (see Part 4), to cranes on ships, or to equipment moved by hand. Terms in "
    "italics are defined in Annex B. Where this part and Annex B differ, this part prevails.",
)
