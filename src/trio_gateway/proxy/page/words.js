// Numbers, times and foreign names in words. Pure.

// Names and paths are foreign: signs that do not show, or turn the text around them, are shown as such.
const UNSHOWN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
export const plain = (text) => String(text ?? "").replace(UNSHOWN, "\ufffd");

export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}

export function count(number, one, many) {
  return `${number} ${number === 1 ? one : many}`;
}

export function rate(number) {
  if (number === 0 || number >= 9.95) return Math.round(number).toLocaleString("en");
  return number.toFixed(1);
}

export const clock = (time) => new Date(time).toLocaleTimeString([], { hour12: false });

// "reports/2026/a.ipynb" as its folder and its name.
export function split(path) {
  const cut = path.lastIndexOf("/", path.length - 2) + 1;
  return [path.slice(0, cut), path.slice(cut)];
}
