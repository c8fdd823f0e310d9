// What scripts add to the pages. Every page also works without scripts; htmx loads lists and older activity.
"use strict";

const root = document.documentElement;
const find = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const announce = (text) => { find("#announcement").textContent = text; };
root.classList.add("scripted");

// --- timestamps: in the reader's time zone and language; relative within the last day ---
const language = root.lang;
const formats = {
  datetime: new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }),
  date: new Intl.DateTimeFormat(language, { dateStyle: "medium" }),
  full: new Intl.DateTimeFormat(language, { dateStyle: "full", timeStyle: "long" }),
};
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
const DAY_S = 86400;

function formatTimestamps(within = document) {
  for (const time of all("time[datetime]", within)) {
    const timestamp = new Date(time.dateTime);
    const age = (Date.now() - timestamp) / 1000;
    const isRecent = time.dataset.kind === "datetime" && age >= 0 && age < DAY_S;
    time.title = formats.full.format(timestamp);
    time.textContent = !isRecent ? formats[time.dataset.kind].format(timestamp)
      : age < 60 ? relative.format(0, "second")
      : age < 3600 ? relative.format(-Math.floor(age / 60), "minute")
      : relative.format(-Math.floor(age / 3600), "hour");
  }
}

// --- the user list: selection, and the link back to the list ---
function updateSelectAll() {
  const boxes = all(".bulk input[name=id]");
  const selected = boxes.filter((box) => box.checked).length;
  const selectAll = find("#select-all");
  if (selectAll) {
    selectAll.checked = selected > 0 && selected === boxes.length;
    selectAll.indeterminate = selected > 0 && selected < boxes.length;
  }
}

function rememberList() {
  if (find("#list") && !find("#list [role=alert]")) sessionStorage.setItem("list", location.pathname + location.search);
  const back = find("#back"), list = sessionStorage.getItem("list");
  if (back && list?.startsWith("/people") && list.includes("deleted=true") === ("trash" in back.dataset)) back.href = list;
}

// The parameters of a notice are removed from the address, so that a reload does not show it again.
function removeNoticeParameters() {
  const url = new URL(location.href);
  if (!url.searchParams.has("done")) return;
  for (const name of ["done", "n", "undo"]) url.searchParams.delete(name);
  history.replaceState(history.state, "", url);
}

function initialize() {
  removeNoticeParameters();
  formatTimestamps();
  updateSelectAll();
  rememberList();
}

document.addEventListener("change", ({ target }) => {
  if (target.id === "select-all") for (const box of all(".bulk input[name=id]")) box.checked = target.checked;
  if (target.closest(".bulk")) updateSelectAll();
  if (target.id === "shortcuts-on") localStorage.setItem("keys", target.checked ? "on" : "off");
  const conflict = target.closest(".conflict");
  if (conflict) setValue(document.getElementById(conflict.dataset.field), target.dataset.value);
});

// --- conflicts: the chosen value is copied to its field; typing in the field chooses one's own value ---
function setValue(field, value) {
  if (field.type === "checkbox") field.checked = Boolean(value);
  else field.value = value;
}

document.addEventListener("input", ({ target }) => {
  const mine = find(`.conflict[data-field="${CSS.escape(target.id)}"] [value=mine]`);
  if (mine) mine.checked = true;
});

// --- a form is submitted once; a page restored from the history may submit again ---
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  if (form.dataset.submitted) event.preventDefault();
  form.dataset.submitted = "yes";
});
const allowSubmit = () => { for (const form of all("form[data-submitted]")) delete form.dataset.submitted; };
window.addEventListener("pageshow", allowSubmit);

// --- leaving a form with unsaved changes requires confirmation; submitting it does not ---
function isChanged(field) {
  if (!field.matches("input:not([type=hidden]), select, textarea")) return false;
  if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
  if (field.options) return field.selectedIndex !== Math.max(0, [...field.options].findIndex((option) => option.defaultSelected));
  return field.value !== field.defaultValue;
}

const isUnsaved = (form) => !form.dataset.submitted && ("unsaved" in form.dataset || [...form.elements].some(isChanged));
const hasUnsaved = (within) => all("form[data-guard]", within).some(isUnsaved);

window.addEventListener("beforeunload", (event) => {
  if (!hasUnsaved(document)) return;
  event.preventDefault();
  // If the user stays on the page, another form whose submission led here may be submitted again.
  setTimeout(allowSubmit);
});
document.addEventListener("htmx:before:request", (event) => {
  const target = event.detail.ctx.target;
  if (target instanceof Element && hasUnsaved(target) && !confirm(document.body.dataset.leave)) event.preventDefault();
});

// --- clicks: copying a secret, showing the shortcuts ---
document.addEventListener("click", async ({ target }) => {
  const button = target.closest("[data-copy]");
  if (button) {
    const source = document.getElementById(button.dataset.copy);
    source.select();
    // Browsers offer the clipboard only to pages served over HTTPS or from localhost.
    if (navigator.clipboard) await navigator.clipboard.writeText(source.value);
    else document.execCommand("copy");
    button.textContent = button.dataset.copied;
    announce(button.dataset.copied);
  }
  if (target.closest("#show-shortcuts")) find("#shortcuts").showModal();
});

// --- keyboard shortcuts ---
function moveFocus(by) {
  const rows = all(".users tbody tr a, .users tbody tr input[name=id]").map((item) => item.closest("tr"));
  const unique = [...new Set(rows)];
  const current = unique.indexOf(document.activeElement.closest(".users tbody tr"));
  const next = unique[current < 0 ? (by > 0 ? 0 : unique.length - 1) : current + by];
  if (next) (find(".name a", next) ?? find("input[name=id]", next))?.focus();
  else if (current === 0 && by < 0) find("#q")?.focus();
  return Boolean(unique.length);
}

function openPage(address) {
  if (address) location.assign(address);
  return Boolean(address);
}

// Each function returns whether it handled the key.
const shortcuts = {
  "/": () => { find("#q") ? find("#q").select() : openPage(document.body.dataset.usersUrl); return true; },
  "?": () => { find("#shortcuts").showModal(); return true; },
  n: () => openPage(document.body.dataset.newUrl),
  x: () => { const box = find("input[name=id]", document.activeElement.closest("tr") ?? document.createElement("tr")); box?.click(); return box; },
  ArrowDown: () => moveFocus(1),
  ArrowUp: () => moveFocus(-1),
  ArrowLeft: () => { const link = find(".pages [rel=prev]"); link?.click(); return link; },
  ArrowRight: () => { const link = find(".pages [rel=next]"); link?.click(); return link; },
};

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || find("dialog[open]")) return;
  if (target.id === "q") {
    if (key === "ArrowDown" && moveFocus(1)) event.preventDefault();
    return;
  }
  if (target.matches("input:not([type=checkbox]), textarea, select")) return;
  const isSingle = key.length === 1;
  if (isSingle && localStorage.getItem("keys") === "off") return;
  if (Object.hasOwn(shortcuts, key) && shortcuts[key]()) event.preventDefault();
});

// --- refreshing while the page is visible, and a service that does not respond ---
setInterval(() => {
  if (document.hidden) return;
  for (const part of all("[data-refresh]")) htmx.trigger(part, "refresh");
  formatTimestamps();
}, 5000);

document.addEventListener("htmx:error", ({ detail }) => {
  // A newer search aborts the running one. That is no error.
  if (detail.error?.name === "AbortError") return;
  if (!find("#offline")) find("#main").insertAdjacentHTML("afterbegin", '<div class="notice danger" id="offline" role="alert"></div>');
  find("#offline").textContent = document.body.dataset.offline;
});
document.addEventListener("htmx:after:swap", () => { find("#offline")?.remove(); initialize(); });
if (location.hash === "#q") find("#q")?.focus();
find("form[data-auto-submit]")?.requestSubmit();
find("#shortcuts-on").checked = localStorage.getItem("keys") !== "off";
initialize();
