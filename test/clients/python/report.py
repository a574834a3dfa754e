"""The stack under test, as test/clients/main.ts tells it, and the report of what came of a use of a client."""

import json
import os

EDGE, KEY, ALIAS, BACKBONE = (os.environ[name] for name in ("EDGE", "KEY", "ALIAS", "BACKBONE"))
SEA = "Tell me about the sea."
WEATHER = "What is the weather in Paris?"


def feature(name):
    """
    Runs the function below it and prints what came of it as a line of JSON. It raises where it did not work, and may return
    a note.
    """

    def run(use):
        try:
            note = use()
            print(json.dumps({"feature": name, "ok": True, **({"note": note} if note else {})}), flush=True)
        except Exception as error:  # whatever a client raises is its result
            message = f"{type(error).__name__}: {error}"[:400]
            print(json.dumps({"feature": name, "ok": False, "message": message}), flush=True)

    return run
