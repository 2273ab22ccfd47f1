// What may stand at the cursor of a PromQL expression, from the text before it.
//
// {kind, word, metric, label}: `word` is what is typed of it already. Kinds: name (of a metric or function), label (in
// braces), grouping (a label after `by (`), value (of a label), duration, none (in a string or a comment).
const GROUPING = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)$/i;
const VALUE = /([A-Za-z_]\w*)\s*(?:=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)$/;

// Returns the index of the brace that is open at the end, or -1; -2 within a string outside of braces, or a comment.
function openBrace(text) {
  let brace = -1, quote = "";
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quote) {
      if (c === "\\" && quote !== "`") i++;
      else if (c === quote) quote = "";
    } else if (c === "#") {
      const end = text.indexOf("\n", i);
      if (end < 0) return -2;
      i = end;
    } else if (c === '"' || c === "'" || c === "`") quote = c;
    else if (c === "{") brace = i;
    else if (c === "}") brace = -1;
  }
  return quote && brace < 0 ? -2 : brace;
}

export function contextOf(before) {
  const brace = openBrace(before);
  if (brace === -2) return { kind: "none", word: "" };
  if (brace >= 0) {
    const metric = /([A-Za-z_:][\w:]*)\s*$/.exec(before.slice(0, brace))?.[1] ?? "";
    const inside = before.slice(brace + 1);
    const value = VALUE.exec(inside);
    if (value) return { kind: "value", word: value[2], label: value[1], metric };
    const label = /(?:^|,)\s*([A-Za-z_]\w*)?$/.exec(inside);
    return label ? { kind: "label", word: label[1] ?? "", metric } : { kind: "none", word: "" };
  }
  const grouping = GROUPING.exec(before);
  if (grouping) return { kind: "grouping", word: /(\w*)$/.exec(grouping[1])[1], metric: "" };
  const duration = /\[([0-9a-z]*)$/.exec(before);
  if (duration) return { kind: "duration", word: duration[1] };
  return { kind: "name", word: /(?<![\w.:])([A-Za-z_:][\w:]*)$/.exec(before)?.[1] ?? "" };
}
