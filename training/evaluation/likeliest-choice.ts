import { logProbability } from '../../model/runtime/logits.ts'
import { QuartetError } from '../../shared/errors.ts'
import type { Read, Score } from './read-prompts.ts'

/** A beginning that some of the choices share. */
interface Branch {
  /** Tokens so far. */
  readonly path: readonly number[]
  /** The choices that begin so. */
  readonly choices: readonly number[]
  /** log p of the path: an upper bound of each of its choices. */
  readonly logLikelihood: number
}

/**
 * The index of the choice with the highest likelihood as a whole response behind a prompt, whose cache all choices
 * share. `choices` are responses in tokens with the token that ends them, so that none begins another; `next` are the
 * logits after the prompt.
 *
 * Best-first search over the choices' common beginnings: a beginning less likely than a finished choice is never read
 * on, so that of 77 labels a few are run, and the result is still exact.
 */
export function* likeliestChoice(
  next: Float32Array,
  choices: readonly (readonly number[])[],
): Generator<Read, number, void> {
  let branches: readonly Branch[] = [
    { path: [], choices: choices.map((_, index) => index), logLikelihood: 0 },
  ]
  for (;;) {
    const best = branches.reduce((a, b) => (b.logLikelihood > a.logLikelihood ? b : a))
    const [only] = best.choices
    if (only !== undefined && best.path.length === choices[only]?.length) return only
    const grown =
      only !== undefined && best.choices.length === 1
        ? [yield* finished(next, { branch: best, choice: only, tokens: choices[only] ?? [] })]
        : yield* split(next, { branch: best, choices })
    branches = [...branches.filter((branch) => branch !== best), ...grown]
  }
}

/** The one choice of a branch, read to its end. */
function* finished(
  next: Float32Array,
  { branch, choice, tokens }: { branch: Branch; choice: number; tokens: readonly number[] },
): Generator<Read, Branch, void> {
  const known = branch.path.length
  let { logLikelihood } = branch
  if (known === 0) logLikelihood += logProbability(next, tokens[0])
  yield* read(tokens.slice(0, -1), (logits, at) => {
    if (at + 1 >= known) logLikelihood += logProbability(logits, tokens[at + 1])
  })
  return { path: tokens, choices: [choice], logLikelihood: numeric(logLikelihood) }
}

/** A branch's choices by their next token. */
function* split(
  next: Float32Array,
  { branch, choices }: { branch: Branch; choices: readonly (readonly number[])[] },
): Generator<Read, readonly Branch[], void> {
  const known = branch.path.length
  const byToken = Map.groupBy(branch.choices, (index) => choices[index]?.[known])
  let branches: readonly Branch[] = []
  const divide = (logits: Float32Array) => {
    branches = [...byToken].map(([id, sharing]) => ({
      path: id === undefined ? branch.path : [...branch.path, id],
      choices: sharing,
      logLikelihood: numeric(branch.logLikelihood + logProbability(logits, id)),
    }))
  }
  if (known === 0) divide(next)
  yield* read(branch.path, (logits, at) => {
    if (at === known - 1) divide(logits)
  })
  return branches
}

function* read(tokens: readonly number[], onLogits: Score['onLogits']): Generator<Read, void, void> {
  if (tokens.length > 0) yield { type: 'score', tokens, onLogits }
}

function numeric(logLikelihood: number): number {
  if (Number.isNaN(logLikelihood))
    throw new QuartetError(
      'node_error',
      'the model gave a response no likelihood: its logits are not numbers',
    )
  return logLikelihood
}
