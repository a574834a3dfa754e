import { parseBounded, RefusedJson } from './json-depth.ts'

/** Strings and what delimits them, in text that is JSON. */
const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],]/g

/** A JSON object names something twice, or names what reads of it could take for an object's prototype. */
class AmbiguousName extends RefusedJson {
  constructor(name: string) {
    super(
      `the name ${JSON.stringify(name.slice(0, 64))} ${name === '__proto__' ? 'is not allowed' : 'stands there twice'}`,
      'name each thing once',
    )
  }
}

/**
 * JSON whose objects are looked up by name: `parseBounded`, which lets the last of two equal names win where another reader
 * takes the first. Throws `RefusedJson` for a name that an object has twice (RFC 8259, section 4) and for `__proto__`,
 * and SyntaxError for what is no JSON.
 */
export function parseUniqueNames(text: string): unknown {
  const value = parseBounded(text)
  /** The open objects' names so far; null for an array. */
  const open: (Set<string> | null)[] = []
  let expectsName = false
  for (const [token] of text.matchAll(tokens)) {
    const names = open.at(-1)
    if (token === '{') open.push(new Set())
    else if (token === '[') open.push(null)
    else if (token === '}' || token === ']') open.pop()
    else if (token !== ',' && names != null && expectsName) {
      const name = String(JSON.parse(token))
      if (names.has(name) || name === '__proto__') throw new AmbiguousName(name)
      names.add(name)
    }
    expectsName = token === '{' || (token === ',' && names != null)
  }
  return value
}
