"""A handler of loop-mcp in Python, standard library only: shortens a text pass by pass.

Served with:  loop-mcp handler summarise -- python3 summarise.py
"""
import json
import sys


def say(**message):
    print(json.dumps(message), flush=True)


call = json.load(sys.stdin)  # one start: the same key is the same start
memory = call.get("memory") or {"words": call["with"]["text"].split()}
words, most = memory["words"], int(call["with"]["most"])

say(type="emit", text=f"start {call['key']}: {len(words)} words, at most {most} wanted")
if len(words) > most:
    shortest = min(words, key=len)  # each iteration leaves out one of the shortest words
    words.remove(shortest)
    memory["dropped"] = memory.get("dropped", []) + [shortest]
    say(type="save", memory=memory)  # from here on a crash repeats less

say(type="result", output=" ".join(words), memory=memory, done=len(words) <= most, score=1 / len(words))
