"""Options that several commands take, and what `--set` says."""


def options_of(pairs: list[str], problems: list[str]) -> dict[str, str]:
    """What `--set density=0.3` and its like say; what cannot be read becomes a problem."""
    options: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            problems.append(f"--set {pair}: expected OPTION=VALUE, as in --set density=0.3")
        elif key == "name":
            problems.append("--set name: the method's name is given by -m")
        elif key in options:
            problems.append(f"--set {key}: given twice")
        else:
            options[key] = value
    return options
