"""Checks of a page: axe-core, a narrow screen, spacing and input fields. Each finding is one line."""

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page
from visitors import NARROW

_TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
_OPTIONS = {"runOnly": {"type": "tag", "values": _TAGS}, "resultTypes": ["violations"]}
# Elements that extend beyond the screen, unless an ancestor scrolls or clips them. An absolutely positioned element is
# clipped only by its containing block. Text may extend beyond a box that fits.
_OUTSIDE = """(width) => {
    const style = (node) => getComputedStyle(node);
    const isHeld = (node) => {
        let isLoose = style(node).position === "absolute";
        for (let around = node.parentElement; around && around !== document.body; around = around.parentElement) {
            const { overflowX, position } = style(around);
            if (isLoose && position === "static") continue;
            if (overflowX !== "visible") return true;
            isLoose = position === "absolute";
        }
        return false;
    };
    const right = (node) => {
        const box = node.getBoundingClientRect();
        const isOverfull = style(node).overflowX === "visible" && style(node).display !== "inline";
        return Math.round(isOverfull ? Math.max(box.right, box.left + node.scrollWidth) : box.right);
    };
    const found = [...document.body.querySelectorAll("*")].filter((node) => right(node) > width + 1 && !isHeld(node));
    const lines = found.filter((node) => !found.some((other) => other !== node && node.contains(other))).map((node) => {
        const name = [node.localName + (node.id && "#" + node.id), ...node.classList].join(".");
        const text = (node.textContent || node.value || "").replace(/\\s+/g, " ").trim();
        return `${name} reaches to ${right(node)} px: ${text.slice(0, 40)}`;
    });
    const all = document.documentElement.scrollWidth;
    return all > width ? [`the page is ${all} px wide`, ...lines] : lines;
}"""
# Headings less than 8 px above the next element, and copy buttons whose text wraps.
_CROWDED = """() => {
    const box = (node) => node.getBoundingClientRect();
    const isShown = (node) => box(node).width > 1 && box(node).height > 1 && !node.closest(".visually-hidden");
    const all = [...document.body.querySelectorAll("*")].filter(isShown);
    const gap = (heading) => {
        const later = all.slice(all.indexOf(heading) + 1).filter((node) => !heading.contains(node));
        const below = later.find((node) => box(node).top >= box(heading).bottom - 2);
        return below ? Math.round(box(below).top - box(heading).bottom) : 100;
    };
    const headings = all.filter((node) => node.matches("h1, h2") && gap(node) < 8);
    const buttons = all.filter((node) => node.matches("[data-copy]") && box(node).height > 44);
    return [...headings, ...buttons].map((node) => `${node.localName}: ${node.textContent.trim().slice(0, 40)}`);
}"""
# Controls whose type or attributes let browsers rewrite, truncate, refuse or autocorrect a value.
_ALTERING = """() => [...document.querySelectorAll("input, textarea, select")].filter((control) => {
    const types = ["text", "search", "password", "hidden", "checkbox", "radio", "textarea", "select-one"];
    const rules = ["maxlength", "minlength", "pattern", "min", "max", "step", "list"];
    const isTyped = control.matches("textarea, [type=text], [type=search]") && !control.readOnly;
    const isCorrected = isTyped && (control.spellcheck || control.autocapitalize !== "none");
    return !types.includes(control.type) || rules.some((rule) => control.hasAttribute(rule)) || isCorrected;
}).map((control) => control.outerHTML.slice(0, 120))"""


def require_unaltered_input(page: Page) -> None:
    """No field alters or refuses input."""
    found = page.evaluate(_ALTERING)
    assert found == [], "\n".join([f"altering: {page.url}", *found])


def require_spacing(page: Page) -> None:
    """Headings have space below, and the copy button has one line."""
    found = page.evaluate(_CROWDED)
    assert found == [], "\n".join([f"crowded: {page.url}", *found])


def require_no_violations(page: Page) -> None:
    """Require that axe finds no violation of WCAG 2.2 AA or of its best practices."""
    found = violations(page)
    assert found == [], "\n".join([f"{len(found)} findings of axe on {page.url}", *found])


def require_no_overflow(page: Page) -> None:
    """Require that a page fits 360 px. A wider element may scroll, the page may not."""
    found = page.evaluate(_OUTSIDE, NARROW)
    assert found == [], "\n".join([f"too wide for {NARROW} px: {page.url}", *found])


def violations(page: Page) -> list[str]:
    """The findings of axe, one per element."""
    # Playwright uses the DevTools protocol, to which the Content-Security-Policy does not apply.
    if page.evaluate("!window.axe"):
        page.evaluate(AXE_SCRIPT)
    rules = page.evaluate("(options) => axe.run(options).then((result) => result.violations)", _OPTIONS)
    return [_line(rule, node) for rule in rules for node in rule["nodes"]]


def _line(rule: dict[str, Any], node: dict[str, Any]) -> str:
    reasons = [part["message"] for kind in ("any", "all", "none") for part in node[kind]]
    return f"{rule['id']} ({rule['impact']}) at {node['target']}: {'; '.join(reasons) or rule['help']}"
