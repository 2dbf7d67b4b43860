"""What may be given as the URL of the management API."""

import argparse

import pytest

from tools.lib.management import http_url


def test_a_url_of_http_is_taken_as_it_is() -> None:
    assert http_url("https://broker.example:15671/rabbit") == "https://broker.example:15671/rabbit"


@pytest.mark.parametrize("text", ["file:///etc/passwd", "localhost:15672", "ftp://x/", "http://", "http://u:p@x"])
def test_other_urls_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        http_url(text)
