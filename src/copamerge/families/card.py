"""The model card of a member that was taken from a family."""

from typing import TYPE_CHECKING

from copamerge.core.adapter import Kind
from copamerge.families.record import FamilyRecord, MemberRecord
from copamerge.merging.card import assembled, sees
from copamerge.merging.card.body import hash_lines, kept_line, origin, version_line
from copamerge.merging.card.escape import code, shown, text
from copamerge.merging.card.hub import hub_base
from copamerge.merging.card.loading import Written, loading_lines
from copamerge.merging.card.metadata import licence_line, metadata, named

if TYPE_CHECKING:
    from copamerge.families.take import TakeReport


def member_card(record: FamilyRecord, report: "TakeReport") -> str:
    """README.md: metadata for the Hub, then what it is, the adapters behind it, how to load it."""
    member = record.members[record.names.index(report.member)]
    sources = [named(x.adapter, x.card) for x in record.members]
    written = Written(
        rank=report.rank,
        base=hub_base(record.base_model),
        task_type=record.config.get("task_type"),
        sees=sees(layer.layer for layer in record.layers),
        linear=all(layer.kind == Kind.LINEAR.value for layer in record.layers),
    )
    head = metadata(written, sources, ["copamerge", "emr"])
    error = "" if member.error is None else f", {member.error:.2%} of its norm away from it"
    lines = [
        f"# {text(member.name)}, from a family of {len(record.members)} LoRA adapters",
        "",
        f"Member {code(member.name)} of a family of {len(record.members)} LoRA adapters of "
        f"{origin(written.base, record.base_model)}: EMR-Merging's unified delta under this "
        f"member's mask, times {report.scalar:.4g}. It stands for "
        f"{code(shown(member.adapter))}{error}; made without training and without data.",
        "",
        "## Sources",
        "",
        "The unified delta comes from all of them:",
        "",
        *(_line(each) for each in record.members),
        "",
        *hash_lines((x.adapter, x.sha256) for x in record.members),
        "",
        licence_line(sources),
        "",
        "## What was kept",
        "",
        f"- {report.layers} layers, rank {report.rank}, {text(report.dtype)}",
        kept_line(report.energy_kept, report.energy_kept_worst, report.worst_layer, "the member"),
    ]
    if report.rounding_worst:
        lines.append(f"- rounding to {text(report.dtype)}: at most {report.rounding_worst:.1e}")
    lines += [f"- {text(warning)}" for warning in record.warnings]
    lines += ["", "## Loading", "", *loading_lines(written), ""]
    lines += ["## Making it again", "", "From the family's folder; `take.json` has its hashes:", ""]
    rank = f"--rank {report.rank} --dtype {text(report.dtype)}"
    lines += [f"`copamerge family take FAMILY {member.name} -o OUT {rank}`", ""]
    lines += [f"Made with {version_line({'copamerge': report.copamerge})}."]
    return assembled(head, lines)


def _line(member: MemberRecord) -> str:
    at = f" at {code(member.revision)}" if member.revision else ""
    return f"- {code(shown(member.adapter))}{at}"
