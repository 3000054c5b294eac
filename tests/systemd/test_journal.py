"""What is logged inside of the container is searched for the secrets of the tests when it ends (conftest)."""

from tests.harness import wait_for
from tests.secrets import fixed, leaks


def test_a_secret_in_the_journal_would_be_found(container):
    container.run("echo 'artfs: a line of a unit' | systemd-cat")
    journal = wait_for(lambda: "a line of a unit" in (text := container.journal()) and text)
    assert leaks(journal) == []
    secret = min(fixed())
    assert leaks(f"{journal}\nartfs: the key is {secret}") == [secret]
