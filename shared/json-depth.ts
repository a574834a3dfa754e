/**
 * How deep objects and lists may stand in one another in JSON that clients send. What reads a value calls itself at each
 * level, and so does what a chat template does with it: without a bound the stack would be the client's to exhaust.
 */
export const maxJsonDepth = 128

export const tooDeep = `nests objects and lists more than ${maxJsonDepth} deep; send it flatter`

const [quote, backslash] = [0x22, 0x5c]
/** Setting this bit makes a list's bracket an object's. */
const brace = 0x20
const [opening, closing] = [0x7b, 0x7d]

/** Whether a text that is JSON nests deeper. */
export function isTooDeep(json: string): boolean {
  let depth = 0
  for (let at = 0; at < json.length; at++) {
    const code = json.charCodeAt(at)
    if (code === quote) at = endOfString(json, at)
    else if ((code | brace) === opening) {
      depth += 1
      if (depth > maxJsonDepth) return true
    } else if ((code | brace) === closing) depth -= 1
  }
  return false
}

/** Where the quote stands that ends the string which begins at `start`. */
function endOfString(json: string, start: number): number {
  for (let end = json.indexOf('"', start + 1); end !== -1; end = json.indexOf('"', end + 1)) {
    let escapes = 0
    while (json.charCodeAt(end - 1 - escapes) === backslash) escapes += 1
    if (escapes % 2 === 0) return end
  }
  return json.length
}
