"""Fires an alert for a request that failed: shared by the integrations with web frameworks."""

from __future__ import annotations

from alerthost_client.integrations.reporter import Reporter, call_site, describe


def report(  # noqa: PLR0913 -- each is one property of the request
    reporter: Reporter,
    name: str,
    error: BaseException | None,
    *,
    method: str,
    path: str,
    route: str | None,
) -> None:
    """Fire an alert for a failed request, or count a repeat.

    The key is the class of the exception with the route. The path is in the details only: each
    one would be a problem of its own. Queries, headers and bodies are left out.

    Args:
        reporter: fires.
        name: of the application, with which its keys begin.
        error: None if the application answered with the status 500.
        method: of the request.
        path: of the request.
        route: the pattern of the path; None if it is not known.
    """
    if error is None:
        problem, text = "500", "answered with 500"
    else:
        problem = type(error).__qualname__ if route else call_site(error)
        text = describe(error)
    details = {"method": method, "path": path, "route": route}
    reporter.fire(
        f"{name}/{problem} at {route}" if route else f"{name}/{problem}",
        f"{name}: {method} {route or path}: {text}",
        error=error,
        details=details,
    )
