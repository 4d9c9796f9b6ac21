// Makes elements. Text is always text: nothing that a Rollout says becomes markup.

export function h(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.className = value;
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function svg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes ?? {})) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

// Puts new content in place only where it differs, so that focus, selection and what a screen reader is at stay.
export function replace(parent, ...children) {
  const wanted = children.flat(Infinity).filter(Boolean);
  wanted.forEach((child, n) => {
    const present = parent.childNodes[n];
    if (!present) parent.append(child);
    else if (!present.isEqualNode(child)) merge(present, child);
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

function merge(present, child) {
  const same = present.nodeType === Node.ELEMENT_NODE && child.nodeType === Node.ELEMENT_NODE
    && present.nodeName === child.nodeName && present.id === child.id && !present.dataset?.whole && !child.dataset?.whole;
  if (!same) {
    present.replaceWith(child);
    return;
  }
  const kept = (name) => name === "open" && present.nodeName === "DETAILS";
  for (const { name } of [...present.attributes]) if (!child.hasAttribute(name) && !kept(name)) present.removeAttribute(name);
  for (const { name, value } of [...child.attributes]) if (present.getAttribute(name) !== value) present.setAttribute(name, value);
  replace(present, [...child.childNodes]);
}

export function age(then, now = Date.now()) {
  const seconds = Math.max(0, Math.floor((now - then) / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

// An age that goes on by itself.
export function ago(time, before = "", after = " ago") {
  if (!time) return null;
  const element = h("time", { datetime: new Date(time).toISOString(), title: new Date(time).toLocaleString(),
    "data-at": time, "data-before": before, "data-after": after });
  element.textContent = `${before}${age(time)}${after}`;
  return element;
}

setInterval(() => {
  for (const element of document.querySelectorAll("time[data-at]")) {
    const { at, before, after } = element.dataset;
    const text = `${before}${age(Number(at))}${after}`;
    if (element.textContent !== text) element.textContent = text;
  }
}, 1000);

export function clock(time) {
  return new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}
