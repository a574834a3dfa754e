"""Ids of texts by Hugging Face's tokenizers: reference.py TEXTS TOKENIZER OUT, all JSON files."""

import json
import sys

from tokenizers import Tokenizer

texts_path, tokenizer_path, out_path = sys.argv[1:]
with open(texts_path, encoding="utf-8") as file:
    texts = json.load(file)
tokenizer = Tokenizer.from_file(tokenizer_path)
tokenizer.no_truncation()
tokenizer.no_padding()
with open(out_path, "w", encoding="utf-8") as file:
    json.dump(
        [
            {
                "prompt": tokenizer.encode(text).ids,
                "bare": tokenizer.encode(text, add_special_tokens=False).ids,
            }
            for text in texts
        ],
        file,
    )
