"""A runtime: `RUNTIME_PATHS=examples/runtimes lovage up`, then a version with `"runtime": "shout"`."""

from app.domain.work import Finished
from app.runtimes import schema
from app.runtimes.base import Runtime, RuntimeSpec


class Shout(Runtime):
    spec = RuntimeSpec(
        name="shout",
        description="Answers in capitals.",
        inputs={"": schema.inputs({"text": schema.text("What to shout.")}, required=("text",))},
        outputs={"": {"title": "Output", "type": "string"}},
        needs_source=False,
        config={"mark": schema.text("Put behind every text.", max_length=8)},
    )

    def __init__(self, mark):
        self.mark = mark

    @classmethod
    def load(cls, model):  # model.path: the folder of the files; model.device: where to put them
        return cls(model.config.get("mark", "!"))

    def prepare(self, job):  # beside the running batch; a ValueError fails this job alone
        job.length = len(job.input["text"])

    def run(self, batch, feed):  # one ending for every job, by its id
        for job in batch:
            yield job.id, Finished(job.input["text"].upper() + self.mark)
