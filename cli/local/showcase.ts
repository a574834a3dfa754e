import type { DemoTenant } from './demo.ts'
import type { LocalState } from './local-state.ts'
import { ask } from './try-it.ts'

/** A demo tenant's question as its adapter and as the untuned backbone answer it. */
export interface DemoAnswers {
  readonly tenant: DemoTenant
  readonly tuned: string
  readonly untuned: string
}

/** Enough to see: the untuned answer is cut to a line. */
const maxTokens = { tuned: 40, untuned: 24 }

/** Asks every demo tenant's question twice. Throws when a model does not answer. */
export async function compareDemos(
  { edge, backbone, tenants }: LocalState,
  demo: readonly DemoTenant[],
): Promise<readonly DemoAnswers[]> {
  const known = demo.flatMap((tenant) => {
    const key = tenants.find(({ id }) => id === tenant.id)?.key
    return key === undefined ? [] : [{ tenant, key }]
  })
  return await Promise.all(
    known.map(async ({ tenant, key }) => {
      const question = { edge, key, question: tenant.question }
      const [tuned, untuned] = await Promise.all([
        ask({ ...question, model: tenant.alias, maxTokens: maxTokens.tuned }),
        ask({ ...question, model: backbone, maxTokens: maxTokens.untuned }),
      ])
      return { tenant, tuned, untuned }
    }),
  )
}

const width = 96

/** Lines that show the difference at a glance. */
export function comparisonLines({ tenant, tuned, untuned }: DemoAnswers): readonly string[] {
  return [
    `  ${tenant.alias}  “${oneLine(tenant.question)}”`,
    `    untuned  ${oneLine(untuned)}`,
    `    tuned    ${oneLine(tuned)}`,
  ]
}

function oneLine(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ').trim()
  return line.length > width ? `${line.slice(0, width - 1)}…` : line
}
