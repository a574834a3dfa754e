import { QuartetError } from '../../shared/errors.ts'
import { logProbability } from './response-likelihood.ts'
import { type OpenSequence, openSequence, type ServedModel } from './served-model.ts'

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
 * The index of the choice with the highest likelihood as a whole response. `choices` are responses in tokens with the
 * token that ends them, so that none begins another.
 *
 * Best-first search over the choices' common beginnings: a beginning less likely than a finished choice is never read
 * on, so that of 77 labels a few are run, and the result is exact all the same.
 */
export async function likeliestChoice(
  model: ServedModel,
  { instruction, choices }: { instruction: readonly number[]; choices: readonly (readonly number[])[] },
): Promise<number> {
  const room = choices.reduce((most, { length }) => Math.max(most, length), 0)
  using sequence = await openSequence(model, { instruction, room })
  let branches: readonly Branch[] = [
    { path: [], choices: choices.map((_, index) => index), logLikelihood: 0 },
  ]
  for (;;) {
    const best = branches.reduce((a, b) => (b.logLikelihood > a.logLikelihood ? b : a))
    const [only] = best.choices
    if (only !== undefined && best.path.length === choices[only]?.length) return only
    const grown =
      only !== undefined && best.choices.length === 1
        ? [await finished(sequence, { branch: best, choice: only, tokens: choices[only] ?? [] })]
        : await split(sequence, { branch: best, choices })
    branches = [...branches.filter((branch) => branch !== best), ...grown]
  }
}

/** The one choice of a branch, read to its end in one run. */
async function finished(
  sequence: OpenSequence,
  { branch, choice, tokens }: { branch: Branch; choice: number; tokens: readonly number[] },
): Promise<Branch> {
  const rows = await after(sequence, tokens.slice(0, -1))
  let { logLikelihood } = branch
  for (const [at, logits] of rows.entries())
    if (at >= branch.path.length) logLikelihood += logProbability(logits, tokens[at])
  return { path: tokens, choices: [choice], logLikelihood: numeric(logLikelihood) }
}

/** A branch's choices by their next token. */
async function split(
  sequence: OpenSequence,
  { branch, choices }: { branch: Branch; choices: readonly (readonly number[])[] },
): Promise<readonly Branch[]> {
  const known = branch.path.length
  const logits = (await after(sequence, branch.path)).at(-1) ?? sequence.next
  const byToken = Map.groupBy(branch.choices, (index) => choices[index]?.[known])
  return [...byToken].map(([id, sharing]) => ({
    path: id === undefined ? branch.path : [...branch.path, id],
    choices: sharing,
    logLikelihood: numeric(branch.logLikelihood + logProbability(logits, id)),
  }))
}

/** Logits after the prompt and after each of these tokens behind it. */
async function after(sequence: OpenSequence, tokens: readonly number[]): Promise<readonly Float32Array[]> {
  if (tokens.length === 0) return [sequence.next]
  sequence.rewind()
  return [sequence.next, ...(await sequence.score(tokens))]
}

function numeric(logLikelihood: number): number {
  if (Number.isNaN(logLikelihood))
    throw new QuartetError(
      'node_error',
      'the model gave a response no likelihood: its logits are not numbers',
    )
  return logLikelihood
}
