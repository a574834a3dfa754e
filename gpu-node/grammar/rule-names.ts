/** Strings and classes of characters, which may spell what looks like a name, and names. */
const tokens = /"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|[A-Za-z_][\w.-]*/g

/**
 * The rules of a printed grammar under names of their own, to stand beside those of others: `root` becomes `name`, another
 * rule `name_` and what it was.
 */
export function withRulesUnder(printed: string, name: string): string {
  const rules = new Set([...printed.matchAll(/^([\w.-]+) ::= /gm)].map(([, rule]) => rule))
  return printed.replaceAll(tokens, (token) => {
    if (!rules.has(token)) return token
    return token === 'root' ? name : `${name}_${token}`
  })
}
