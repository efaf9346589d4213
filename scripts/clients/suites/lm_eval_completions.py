"""lm-evaluation-harness, as `--model local-completions`: token ids, scored by echo and logprobs."""

import os

from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI

REQUIRES = ("lm-eval[api]==0.4.13", "transformers==5.23.0")
CALLS = ("openai.completions.create",)
URL = os.environ.get("LOVAGE_URL", "")


def requests(kind: str, *arguments: tuple[object, ...]) -> list[Instance]:
    return [Instance(kind, {}, each, number) for number, each in enumerate(arguments)]


def main() -> None:
    os.environ["OPENAI_API_KEY"] = os.environ["LOVAGE_KEY"]
    model = LocalCompletionsAPI(
        base_url=f"{URL}/v1/completions",
        model=os.environ["TEXT"],
        tokenizer=os.environ["TEXT_FOLDER"],
        tokenizer_backend="huggingface",
        max_length=256,
    )
    pairs = [("The whale", " is a fish"), ("The whale", " zqx zqx")]
    scores = model.loglikelihood(requests("loglikelihood", *pairs))
    assert scores[0][0] > scores[1][0], scores
    (whole,) = model.loglikelihood_rolling(requests("loglikelihood_rolling", ("The whale is a fish",)))
    assert whole < 0
    until = {"until": ["."], "max_gen_toks": 8, "temperature": 0}
    assert model.generate_until(requests("generate_until", ("The whale", until)))[0]


if __name__ == "__main__":
    main()
