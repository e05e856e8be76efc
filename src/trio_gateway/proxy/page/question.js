// The question before something is lost: which kernel, which document, and what is lost.
const $ = (id) => document.getElementById(id);
let answer = null; // takes the answer to the question that stands

export function confirmed({ title, which, lost, action }) {
  const dialog = $("ask");
  answer?.(false);
  $("question").textContent = title;
  $("question-which").textContent = which;
  $("question-lost").textContent = lost;
  $("yes").textContent = action;
  dialog.returnValue = "no";
  if (!dialog.open) dialog.showModal();
  $("no").focus();
  return new Promise((resolve) => (answer = resolve));
}

// What was asked about is gone, or can't be done any more.
export function withdraw() {
  $("ask").close("no");
}

// While nothing can be done, the question stands, but can't be said yes to.
export function setOff(why) {
  const off = $("question-off");
  const words = why === null ? "" : `That can't be done now: ${why}.`;
  if (off.textContent !== words) off.textContent = words;
  if (why === null) $("yes").removeAttribute("aria-disabled");
  else $("yes").setAttribute("aria-disabled", "true");
}

$("yes").addEventListener("click", (event) => {
  if ($("yes").hasAttribute("aria-disabled")) event.preventDefault();
});

// A browser tells of a closed dialog in a task of its own: the next question may be open by then.
$("ask").addEventListener("close", () => {
  if ($("ask").open) return;
  answer?.($("ask").returnValue === "yes");
  answer = null;
});
