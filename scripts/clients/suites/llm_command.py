"""`llm`, the command: chat, streams, schemas, by its own file of extra models."""

import json
import os
import subprocess
import sys
from pathlib import Path

REQUIRES = ("llm==0.36",)
CALLS = ("openai.chat.completions.create",)
MODELS = """
- model_id: lovage
  model_name: {model}
  api_base: {url}/v1
  api_key_name: lovage
  supports_schema: true
  supports_tools: true
- model_id: none
  model_name: nobody/none
  api_base: {url}/v1
  api_key_name: lovage
"""


def ask(*arguments: str, code: int = 0) -> str:
    command = [Path(sys.executable).with_name("llm"), *arguments, "Hello"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def main() -> None:
    folder = Path(os.environ["SCRATCH"])
    os.environ["LLM_USER_PATH"] = str(folder)
    written = MODELS.format(model=os.environ["TEXT"], url=os.environ["LOVAGE_URL"])
    (folder / "extra-openai-models.yaml").write_text(written)
    (folder / "keys.json").write_text(json.dumps({"lovage": os.environ["LOVAGE_KEY"]}))
    eight = ("-m", "lovage", "-o", "max_tokens", "8")
    assert ask(*eight).strip()
    assert ask(*eight, "--no-stream").strip()
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["n"],
        "additionalProperties": False,
    }
    assert json.loads(ask("-m", "lovage", "--schema", json.dumps(schema)))["n"] <= 9
    assert "nobody/none" in ask("-m", "none", code=1)


if __name__ == "__main__":
    main()
