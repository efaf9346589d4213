"""A recording's text in the forms that OpenAI's clients ask for. Pure functions; knows no request."""

from typing import Any

Segment = dict[str, Any]


def segments_of(output: Any) -> list[Segment]:
    """What was said when: {id, start, end, text}. A chunk without an end ends where it begins."""
    chunks = output.get("chunks") or [] if isinstance(output, dict) else []
    return [
        {
            "id": number,
            "start": float(chunk["timestamp"][0] or 0.0),
            "end": float(chunk["timestamp"][1] or chunk["timestamp"][0] or 0.0),
            "text": str(chunk["text"]),
        }
        for number, chunk in enumerate(chunks)
    ]


def as_srt(segments: list[Segment]) -> str:
    """SubRip."""
    cues = (
        f"{segment['id'] + 1}\n{clock(segment['start'], ',')} --> {clock(segment['end'], ',')}\n"
        f"{segment['text'].strip()}\n"
        for segment in segments
    )
    return "\n".join(cues)


def as_vtt(segments: list[Segment]) -> str:
    """WebVTT."""
    cues = (
        f"{clock(segment['start'], '.')} --> {clock(segment['end'], '.')}\n{segment['text'].strip()}\n"
        for segment in segments
    )
    return "WEBVTT\n\n" + "\n".join(cues)


def clock(seconds: float, point: str) -> str:
    """00:00:01,500"""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
