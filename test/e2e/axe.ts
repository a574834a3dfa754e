import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import type { Page } from 'playwright-core'
import { z } from 'zod'

const Violations = z.array(z.object({ id: z.string(), nodes: z.array(z.object({ html: z.string() })) }))

const axe = readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** The rules that a colour scheme can break. */
const colourRules = ['color-contrast', 'link-in-text-block']

/** The faults that axe finds in a page, by rule: all rules in the scheme that it has, those of colours in the other too. */
export async function violations(page: Page): Promise<readonly string[]> {
  // Through the debugger: the page's own policy lets no script in.
  const isDark = z
    .boolean()
    .parse(await page.evaluate(`${await axe}; matchMedia('(prefers-color-scheme: dark)').matches`))
  const [own, other] = isDark ? (['dark', 'light'] as const) : (['light', 'dark'] as const)
  const faults = await faultsOf(page, {})
  await page.emulateMedia({ colorScheme: other })
  const others = await faultsOf(page, { runOnly: colourRules })
  await page.emulateMedia({ colorScheme: own })
  return [...faults, ...others.map((fault) => `${other}, ${fault}`)]
}

async function faultsOf(page: Page, options: { readonly runOnly?: readonly string[] }): Promise<string[]> {
  const given = JSON.stringify({ ...options, resultTypes: ['violations'] })
  const found: unknown = await page.evaluate(
    `axe.run(document, ${given}).then(({ violations }) => violations)`,
  )
  return Violations.parse(found).map(({ id, nodes }) => `${id}: ${nodes[0]?.html ?? ''}`)
}
