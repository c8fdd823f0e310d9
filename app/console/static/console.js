// What pages do beyond links and forms. They work without it; htmx brings lists and older activity.
"use strict";

const root = document.documentElement;
const find = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const say = (text) => { find("#said").textContent = text; };
root.classList.add("scripted");

// --- moments: in the reader's zone and language, and how long ago while that says more ---
const language = root.lang;
const shapes = {
  datetime: new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }),
  date: new Intl.DateTimeFormat(language, { dateStyle: "medium" }),
  full: new Intl.DateTimeFormat(language, { dateStyle: "full", timeStyle: "long" }),
};
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
const DAY_S = 86400;

function showMoments(within = document) {
  for (const time of all("time[datetime]", within)) {
    const moment = new Date(time.dateTime);
    const ago = (Date.now() - moment) / 1000;
    const near = time.dataset.kind === "datetime" && ago >= 0 && ago < DAY_S;
    time.title = shapes.full.format(moment);
    time.textContent = !near ? shapes[time.dataset.kind].format(moment)
      : ago < 60 ? relative.format(0, "second")
      : ago < 3600 ? relative.format(-Math.floor(ago / 60), "minute")
      : relative.format(-Math.floor(ago / 3600), "hour");
  }
}

// --- lists: picking, and the way back to them ---
function showPicked() {
  const boxes = all(".bulk input[name=id]");
  const picked = boxes.filter((box) => box.checked).length;
  const every = find("#pick-all");
  if (every) {
    every.checked = picked > 0 && picked === boxes.length;
    every.indeterminate = picked > 0 && picked < boxes.length;
  }
}

function rememberList() {
  if (find("#list") && !find("#list [role=alert]")) sessionStorage.setItem("list", location.pathname + location.search);
  const back = find("#back"), list = sessionStorage.getItem("list");
  if (back && list?.startsWith("/people") && list.includes("deleted=true") === ("trash" in back.dataset)) back.href = list;
}

function dropNews() {
  const here = new URL(location.href);
  if (!here.searchParams.has("done")) return;
  for (const name of ["done", "n", "undo"]) here.searchParams.delete(name);
  history.replaceState(history.state, "", here);
}

function arrive() {
  dropNews();
  showMoments();
  showPicked();
  rememberList();
}

document.addEventListener("change", ({ target }) => {
  if (target.id === "pick-all") for (const box of all(".bulk input[name=id]")) box.checked = target.checked;
  if (target.closest(".bulk")) showPicked();
  if (target.id === "keys-on") localStorage.setItem("keys", target.checked ? "on" : "off");
  const choice = target.closest(".choice");
  if (choice) fill(document.getElementById(choice.dataset.field), target.dataset.value);
});

// --- a conflict: the chosen value stands in its field, and typing there is choosing one's own ---
function fill(field, value) {
  if (field.type === "checkbox") field.checked = Boolean(value);
  else field.value = value;
}

document.addEventListener("input", ({ target }) => {
  const mine = find(`.choice[data-field="${CSS.escape(target.id)}"] [value=mine]`);
  if (mine) mine.checked = true;
});

// --- forms are sent once; a page that comes back from history may send again ---
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});
const sendAgain = () => { for (const form of all("form[data-sent]")) delete form.dataset.sent; };
window.addEventListener("pageshow", sendAgain);

// --- leaving a form with unsaved changes asks; sending it does not ---
function isChanged(field) {
  if (!field.matches("input:not([type=hidden]), select, textarea")) return false;
  if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
  if (field.options) return field.selectedIndex !== Math.max(0, [...field.options].findIndex((option) => option.defaultSelected));
  return field.value !== field.defaultValue;
}

const isUnsaved = (form) => !form.dataset.sent && ("unsaved" in form.dataset || [...form.elements].some(isChanged));
const hasUnsaved = (within) => all("form[data-guard]", within).some(isUnsaved);

window.addEventListener("beforeunload", (event) => {
  if (!hasUnsaved(document)) return;
  event.preventDefault();
  // If the user stays: another form that was sent, and so asked, may be sent again.
  setTimeout(sendAgain);
});
document.addEventListener("htmx:before:request", (event) => {
  const target = event.detail.ctx.target;
  if (target instanceof Element && hasUnsaved(target) && !confirm(document.body.dataset.leave)) event.preventDefault();
});

// --- copying ---
document.addEventListener("click", async ({ target }) => {
  const button = target.closest("[data-copy]");
  if (button) {
    const source = document.getElementById(button.dataset.copy);
    source.select();
    // The clipboard is only given to pages of https and of this machine.
    if (navigator.clipboard) await navigator.clipboard.writeText(source.value);
    else document.execCommand("copy");
    button.textContent = button.dataset.copied;
    say(button.dataset.copied);
  }
  if (target.closest("#show-keys")) find("#keys").showModal();
});

// --- keys ---
function step(by) {
  const rows = all(".people tbody tr a, .people tbody tr input[name=id]").map((item) => item.closest("tr"));
  const unique = [...new Set(rows)];
  const now = unique.indexOf(document.activeElement.closest(".people tbody tr"));
  const next = unique[now < 0 ? (by > 0 ? 0 : unique.length - 1) : now + by];
  if (next) (find(".who a", next) ?? find("input[name=id]", next))?.focus();
  else if (now === 0 && by < 0) find("#q")?.focus();
  return Boolean(unique.length);
}

function go(address) {
  if (address) location.assign(address);
  return Boolean(address);
}

const keys = {
  "/": () => { find("#q") ? find("#q").select() : go(document.body.dataset.people); return true; },
  "?": () => { find("#keys").showModal(); return true; },
  n: () => go(document.body.dataset.new),
  x: () => { const box = find("input[name=id]", document.activeElement.closest("tr") ?? document.createElement("tr")); box?.click(); return box; },
  ArrowDown: () => step(1),
  ArrowUp: () => step(-1),
  ArrowLeft: () => { const link = find(".pages [rel=prev]"); link?.click(); return link; },
  ArrowRight: () => { const link = find(".pages [rel=next]"); link?.click(); return link; },
};

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || find("dialog[open]")) return;
  if (target.id === "q") {
    if (key === "ArrowDown" && step(1)) event.preventDefault();
    return;
  }
  if (target.matches("input:not([type=checkbox]), textarea, select")) return;
  const isSingle = key.length === 1;
  if (isSingle && localStorage.getItem("keys") === "off") return;
  if (Object.hasOwn(keys, key) && keys[key]()) event.preventDefault();
});

// --- what is asked again while one looks, and a service that does not answer ---
setInterval(() => {
  if (document.hidden) return;
  for (const part of all("[data-every]")) htmx.trigger(part, "refresh");
  showMoments();
}, 5000);

document.addEventListener("htmx:error", ({ detail }) => {
  // What was searched for meanwhile replaces what is under way: no error.
  if (detail.error?.name === "AbortError") return;
  if (!find("#offline")) find("#main").insertAdjacentHTML("afterbegin", '<div class="note bad" id="offline" role="alert"></div>');
  find("#offline").textContent = document.body.dataset.offline;
});
document.addEventListener("htmx:after:swap", () => { find("#offline")?.remove(); arrive(); });
if (location.hash === "#q") find("#q")?.focus();
find("form[data-auto]")?.requestSubmit();
find("#keys-on").checked = localStorage.getItem("keys") !== "off";
arrive();
