"""The page on which people choose between two answers of the model.

It loads nothing from elsewhere, and a policy in its header (Content Security Policy) forbids that it could. Whatever a model or
a prompt says is put into it as text, never as HTML. It asks this server alone, as any client does.
"""

from __future__ import annotations

import base64
import hashlib

_STYLE = """
:root { color-scheme: light dark; --line: #b9c4ce; --blue: #2c6db0; --faint: #5b7083 }
* { box-sizing: border-box } [hidden] { display: none !important }
body { font: 16px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 72rem; padding: 0 1rem }
h1 { font-size: 1.3rem; margin: 0 0 .8rem }
textarea { width: 100%; min-height: 6rem; font: inherit; padding: .5rem }
.row { display: flex; flex-wrap: wrap; gap: .6rem 1rem; align-items: center; margin: .7rem 0 }
.row input { font: inherit; width: 7rem; padding: .1rem .3rem }
button { font: inherit; padding: .35rem .8rem; border: 1px solid var(--line); border-radius: .4rem; cursor: pointer }
button:disabled { opacity: .45; cursor: default }
button:focus-visible, textarea:focus-visible, input:focus-visible { outline: 3px solid var(--blue) }
#answers { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem }
article { border: 1px solid var(--line); border-radius: .5rem; padding: .7rem 1rem; display: flex; flex-direction: column }
article h2 { font-size: 1rem; margin: 0; color: var(--faint) }
.said { white-space: pre-wrap; overflow-wrap: anywhere; min-height: 7rem; flex: 1; margin: .5rem 0 }
#before { padding: 0; list-style: none; white-space: pre-wrap; overflow-wrap: anywhere }
#before li { margin: .2rem 0 } #before b { color: var(--faint); margin-right: .6rem }
kbd { border: 1px solid var(--line); border-radius: .25rem; padding: 0 .35rem; font-size: .8rem }
#problem { color: #b3261e; min-height: 1.5rem } #saved { color: var(--faint) }
"""

_SCRIPT = """
"use strict";
const $ = id => document.getElementById(id);
let isChat = false, prompts = [], at = -1, before = [], shown = null, busy = false, saved = 0;

function headers() {
  const key = $("key").value.trim();
  return {"Content-Type": "application/json", ...(key && {"Authorization": "Bearer " + key})};
}

async function ask(path, body) {
  const how = body ? {method: "POST", body: JSON.stringify(body)} : {};
  const answer = await fetch(path, {...how, headers: headers(), credentials: "omit"});
  const content = await answer.json();
  if (answer.status === 401) $("with-key").hidden = false;
  if (!answer.ok) throw new Error(content.error.message);
  return content;
}

async function guarded(work) {
  if (busy) return;
  busy = true;
  $("problem").textContent = "";
  update();
  try { await work(); } catch (error) { $("problem").textContent = error.message; }
  busy = false;
  update();
}

function update() {
  const ready = !busy && shown !== null;
  for (const button of document.querySelectorAll("[data-choice], [data-vote]")) {
    const vote = button.dataset.vote;
    const isPair = ["left", "right"].includes(button.dataset.choice);
    const useless = isPair && shown !== null && shown.texts[0] === shown.texts[1];
    button.disabled = !ready || useless || (vote && shown.voted.has(vote[0]));
  }
  $("ask").disabled = busy;
  $("next").hidden = prompts.length === 0;
  $("next").disabled = busy;
  $("saved").textContent = (prompts.length ? `Prompt ${Math.min(at + 1, prompts.length)} of ${prompts.length}. ` : "")
    + (saved ? `Records saved: ${saved}.` : "");
  document.body.setAttribute("aria-busy", busy);
}

function show(texts, prompt) {
  shown = texts && {texts, prompt, voted: new Set()};
  $("left").textContent = texts ? texts[0] : "";
  $("right").textContent = texts ? texts[1] : "";
}

function place(prompt) {
  const isList = Array.isArray(prompt);
  before = isList ? prompt.slice(0, -1) : [];
  $("prompt").value = isList ? prompt[prompt.length - 1].content : prompt;
  $("before").replaceChildren(...before.map(message => {
    const item = document.createElement("li"), who = document.createElement("b");
    who.textContent = message.role;
    item.append(who, message.content);
    return item;
  }));
  show(null);
}

function asked() {
  const typed = $("prompt").value;
  return isChat ? {messages: [...before, {role: "user", content: typed}]} : {prompt: typed};
}

function user() {
  const name = $("user").value.trim();
  return name ? {user: name} : {};
}

async function answer(prompt) {
  const seed = crypto.getRandomValues(new Uint32Array(1))[0];
  const limits = {max_tokens: Number($("tokens").value), temperature: Number($("temperature").value)};
  const path = isChat ? "/v1/chat/completions" : "/v1/completions";
  const choice = (await ask(path, {...prompt, ...user(), ...limits, seed})).choices[0];
  return isChat ? choice.message.content : choice.text;
}

async function sample() {
  const prompt = asked();
  show(null);
  let texts = [];
  for (let tries = 0; tries < 4; tries += 1) {  // two that differ and say something, if the model has such
    texts = await Promise.all([answer(prompt), answer(prompt)]);
    if (texts[0] !== texts[1] && texts.every(text => text.trim())) break;
  }
  if (!texts.every(text => text.trim())) throw new Error("The model says nothing.");
  show(texts, prompt);
}

async function save(record) {
  await ask("/v1/feedback", {...shown.prompt, ...user(), ...record});
  saved += 1;
}

async function forward() {
  show(null);
  if (at + 1 >= prompts.length) {
    if (prompts.length) { at = prompts.length; place(""); }
    return;
  }
  at += 1;
  place(prompts[at]);
  await sample();
}

async function choose(which) {
  const [left, right] = shown.texts;
  if (which === "left") await save({chosen: left, rejected: right});
  if (which === "right") await save({chosen: right, rejected: left});
  if (which === "both" || which === "neither") {
    const sides = ["left", "right"].filter(side => !shown.voted.has(side[0]));
    for (const side of sides) {
      await save({completion: shown.texts[side === "left" ? 0 : 1], label: which === "both"});
      shown.voted.add(side[0]);
    }
  }
  await forward();
}

async function vote(side, label) {
  await save({completion: shown.texts[side === "l" ? 0 : 1], label});
  shown.voted.add(side);
  if (shown.voted.size === 2) await forward();
}

const KEYS = {ArrowLeft: "#choose-left", ArrowRight: "#choose-right", ArrowUp: "#both", ArrowDown: "#neither", n: "#next",
  a: "#ask", 1: "#left-good", 2: "#left-bad", 3: "#right-good", 4: "#right-bad"};
document.addEventListener("keydown", event => {
  if (event.target === $("prompt") && event.key === "Enter" && event.ctrlKey) {
    event.target.blur();
    $("ask").click();
  }
  if (event.key === "Escape") event.target.blur();
  if (event.ctrlKey || event.altKey || event.metaKey || ["INPUT", "TEXTAREA"].includes(event.target.tagName)) return;
  const button = KEYS[event.key] && document.querySelector(KEYS[event.key]);
  if (button && !button.hidden) { event.preventDefault(); button.click(); }
});
for (const button of document.querySelectorAll("[data-choice]"))
  button.addEventListener("click", () => guarded(() => choose(button.dataset.choice)));
for (const button of document.querySelectorAll("[data-vote]"))
  button.addEventListener("click", () => guarded(() => vote(button.dataset.vote[0], button.dataset.vote.endsWith("good"))));
$("ask").addEventListener("click", () => guarded(sample));
$("next").addEventListener("click", () => guarded(forward));
async function begin() {
  const given = await ask("/label/prompts");
  isChat = given.is_chat;
  $("tokens").value ||= given.max_tokens;
  prompts = given.prompts;
  at = -1;
  $("with-key").hidden = !$("key").value;
  await forward();
}
$("key").addEventListener("change", () => guarded(begin));
guarded(begin);
"""

_BODY = """
<h1>Which answer is better?</h1>
<div class="row" id="with-key" hidden><label>Key <input id="key" type="password" autocomplete="off"></label></div>
<ol id="before"></ol>
<label for="prompt">Prompt</label>
<textarea id="prompt" spellcheck="false"></textarea>
<div class="row">
<button id="ask">Answer twice <kbd>Ctrl+Enter</kbd> <kbd>a</kbd></button>
<button id="next" hidden>Next prompt <kbd>n</kbd></button>
<label>Tokens <input id="tokens" type="number" min="1"></label>
<label>Temperature <input id="temperature" type="number" min="0" max="10" step="0.1" value="1"></label>
<label>User <input id="user" maxlength="80"></label>
</div>
<div id="answers" aria-live="polite">
<article><h2>Left</h2><div class="said" id="left"></div><div class="row">
<button id="left-good" data-vote="left-good">Good <kbd>1</kbd></button>
<button id="left-bad" data-vote="left-bad">Bad <kbd>2</kbd></button></div></article>
<article><h2>Right</h2><div class="said" id="right"></div><div class="row">
<button id="right-good" data-vote="right-good">Good <kbd>3</kbd></button>
<button id="right-bad" data-vote="right-bad">Bad <kbd>4</kbd></button></div></article>
</div>
<div class="row">
<button id="choose-left" data-choice="left">Left is better <kbd>&larr;</kbd></button>
<button id="choose-right" data-choice="right">Right is better <kbd>&rarr;</kbd></button>
<button id="both" data-choice="both">Both are good <kbd>&uarr;</kbd></button>
<button id="neither" data-choice="neither">Neither is <kbd>&darr;</kbd></button>
</div>
<div id="problem" role="alert"></div>
<div id="saved" role="status"></div>
"""


def _hash(part):
    """Of a part of the page, as the policy names what may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"


PAGE = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Which answer is better?</title>'
    '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
    f"<style>{_STYLE}</style></head>\n<body>{_BODY}<script>{_SCRIPT}</script></body></html>\n"
)
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
