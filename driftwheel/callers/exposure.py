"""The one rule for whatever listens: what other machines can reach asks for a key, or it is not started."""

import ipaddress

from driftwheel.errors import ConfigError

HOW_TO_MAKE_A_KEY = (
    "`driftwheel keys create NAME` makes a key, or set DRIFTWHEEL_API_KEYS to one or more, separated by commas"
)


def is_loopback(host: str) -> bool:
    """Say whether an address can only be reached from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_listener(section: str, host: str, *, is_required: bool, has_keys: bool, is_shown: bool = False) -> None:
    """Raise ConfigError if `section` would answer other machines without a key, or nobody at all.

    `is_shown` says that something else, such as a proxy, makes an address of this machine reachable.
    """
    if is_required and not has_keys:
        raise ConfigError(
            f"{section}.require_key is on and there is no key, so nobody could be answered; {HOW_TO_MAKE_A_KEY}"
        )
    if (is_shown or not is_loopback(host)) and not is_required:
        raise ConfigError(
            f"{section}.host {host} is reachable from other machines and no key is required; "
            f"set {section}.require_key ({HOW_TO_MAKE_A_KEY}), or listen on 127.0.0.1"
        )
