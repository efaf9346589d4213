"""`lovage users`, `audit`, `account` and `webhooks` against a live API."""

from collections.abc import Callable

from api_people import Person
from typer.testing import Result
from waiting import eventually

PASSWORD, ANOTHER = "correct horse battery", "tr0ub4dor and three"
Run = Callable[..., Result]


def test_an_administrator_manages_a_users_life(run_as, admin: Person, anonymous) -> None:
    run = run_as(admin)
    made = run("users", "add", "eva", "eva@example.com")
    password = made.output.partition("password: ")[2].strip()
    login = {"username": "eva", "password": password}
    assert anonymous.post("/v1/auth/token", data=login).status_code == 200, made.output
    for command, row in (
        ("promote", "eva@example.com │ yes"),
        ("demote", "eva@example.com │ │"),
        ("disable", "eva"),
        ("enable", "eva"),
        ("sign-out", "eva"),
        ("cancel", "eva"),
    ):
        assert run("users", command, "eva").exit_code == 0, command
        assert row in " ".join(run("users", "ls").output.split())
    shared = run("users", "share", "eva", "--weight", "2", "--priority", "interactive")
    assert "eva: weight 2, highest priority interactive" in shared.output
    assert run("users", "share", "eva").exit_code == 2
    assert run("users", "share", "eva", "--weight", "0").exit_code == 2
    assert "password: " in run("users", "reset-password", "eva", "--keys").output
    assert anonymous.post("/v1/auth/token", data=login).status_code == 401
    assert run("users", "rm", "eva", typed="n\n").exit_code == 1
    assert run("users", "rm", "eva", typed="y\n").exit_code == 0
    assert "eva" not in run("users", "ls").output
    refused = run("users", "rm", "root", "--yes")
    assert (refused.exit_code, "lovage: You cannot delete your own account" in refused.output) == (1, True)


def test_no_login_can_break_or_hide_in_the_audit_log(run_as, admin: Person, anonymous) -> None:
    for name in ("[/x]", "[conceal]mallory[/conceal]", "\x1b[2Jgone"):
        login = {"username": name, "password": "wrong password"}
        assert anonymous.post("/v1/auth/token", data=login).status_code == 401
    run = run_as(admin)
    eventually(lambda: run("audit", "--action", "login.failed").output.count("login.failed") == 3)
    shown = run("audit").output
    for text in ("[/x]", "[conceal]mallory[/conceal]", "\\u001b[2Jgone"):
        assert text in shown
    assert "\x1b" not in shown


def test_people_change_their_password_with_any_key(run_as, make_person, anonymous) -> None:
    person = make_person("ada", scopes=("predict",))
    run = run_as(person)
    wrong = run("account", "password", typed=f"wrong password\n{ANOTHER}\n{ANOTHER}\n")
    assert (wrong.exit_code, "Incorrect" in wrong.output) == (1, True)
    changed = run("account", "password", typed=f"{PASSWORD}\n{ANOTHER}\n{ANOTHER}\n")
    assert changed.exit_code == 0, changed.output
    assert PASSWORD not in changed.output
    login = {"username": "ada", "password": ANOTHER}
    assert anonymous.post("/v1/auth/token", data=login).status_code == 200
    assert "scopes: predict" in run("account", "show").output


def test_secrets_are_shown_rotated_and_signed_out_of(run_as, ada: Person) -> None:
    run, typed = run_as(ada), f"{PASSWORD}\n"
    before = run("webhooks", "secret").output.strip()
    rotated = run("webhooks", "rotate-secret", typed=typed).output
    assert before.startswith("whsec_")
    assert f"{before}  (the one before, valid until" in rotated
    refused = run("webhooks", "rotate-secret", typed=typed)
    assert (refused.exit_code, "overlap_hours 0" in refused.output) == (1, True)
    alone = run("webhooks", "rotate-secret", "--overlap-hours", "0", typed=typed)
    assert before not in alone.output
    key = run("account", "file-key").output
    assert key.startswith("lfk_")
    assert run("account", "file-key", "--rotate", typed=typed).output.strip().splitlines()[-1] != key.strip()
    assert run("account", "sign-out", "--keys", typed=typed).exit_code == 0
    assert run("account", "show").exit_code == 1, "the key in use has ended, too"


def test_a_key_is_revoked_by_its_name_unless_two_have_it(run_as, admin: Person) -> None:
    run = run_as(admin)
    for name in ("one of a kind", "twin", "twin"):
        assert run("keys", "create", name).exit_code == 0
    assert "revoked" in run("keys", "rm", "one of a kind").output
    doubtful = run("keys", "rm", "twin")
    assert (doubtful.exit_code, "2 keys have this name" in doubtful.output) == (2, True)
    assert run("keys", "rm", "nothing").exit_code == 1
