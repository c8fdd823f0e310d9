"""Names that are hard to display."""

NAMES = {
    "Arabic": "فاطمة الزهراء إبراهيم",
    "Chinese": "欧阳小明",
    "emoji": "👩‍👩‍👧‍👦 Família 🎉",
    "long": "W" * 200,
    "markup": '<img src=x onerror="document.title=1">',
}
