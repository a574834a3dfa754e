import { type AdamMoments, adamW, freshAdamMoments } from './adamw.ts'
import type { MatrixShape } from './graph/orthogonal.ts'
import type { Parameters } from './loss/loss-model.ts'
import { followDirection, freshMuonMoments, type MuonMoments, nextDirection } from './muon.ts'
import { type Matrix, Orthogonalizer } from './orthogonalizer.ts'

interface AdamRule {
  readonly rule: 'adamw'
  readonly rate: number
  readonly decay: number
}

interface MuonRule extends MatrixShape {
  readonly rule: 'muon'
  readonly rate: number
  readonly decay: number
}

/** How a tensor follows its gradient. */
export type UpdateRule = AdamRule | MuonRule

/** What an optimiser remembers of one tensor. */
export type Moments = AdamMoments | MuonMoments

/** A matrix, and where it is to go. */
interface Directed extends Matrix {
  readonly target: Float32Array
  readonly rule: MuonRule
}

/** Follows gradients. It works on copies of the tensors, in place. */
export class Optimizer {
  readonly parameters: Parameters
  readonly #ruleOf: (name: string) => UpdateRule
  readonly #moments: Map<string, Moments>
  readonly #orthogonalizer: Orthogonalizer

  constructor(
    parameters: Parameters,
    {
      ruleOf,
      moments = new Map(),
      threads,
    }: {
      ruleOf: (name: string) => UpdateRule
      moments?: ReadonlyMap<string, Moments>
      threads?: number | undefined
    },
  ) {
    this.parameters = new Map([...parameters].map(([name, values]) => [name, values.slice()]))
    this.#ruleOf = ruleOf
    this.#moments = new Map([...moments].map(([name, kept]) => [name, structuredClone(kept)]))
    this.#orthogonalizer = new Orthogonalizer({ threads })
  }

  get moments(): ReadonlyMap<string, Moments> {
    return this.#moments
  }

  /** Updates the tensors that have a gradient; `factor` scales their rates. Takes the gradients before it first waits. */
  async update(gradients: Parameters, factor: number): Promise<void> {
    const directed: Directed[] = []
    for (const [name, gradient] of gradients) {
      const values = this.parameters.get(name)
      if (values === undefined) throw new Error(`there is no parameter ${name}`)
      const rule = this.#ruleOf(name)
      const known = this.#moments.get(name)
      if (rule.rule === 'adamw')
        this.#moments.set(
          name,
          adamW(values, gradient, { ...rule, rate: rule.rate * factor, moments: adamMoments(known, values) }),
        )
      else {
        const { direction, moments } = nextDirection(gradient, muonMoments(known, values))
        this.#moments.set(name, moments)
        directed.push({ rows: rule.rows, columns: rule.columns, values: direction, target: values, rule })
      }
    }
    for (const [{ rule, target }, direction] of await this.#orthogonalizer.of(directed))
      followDirection(target, direction, { ...rule, rate: rule.rate * factor })
  }

  /** Frees what updates need. */
  close(): Promise<void> {
    return this.#orthogonalizer.close()
  }
}

function adamMoments(known: Moments | undefined, { length }: Float32Array): AdamMoments {
  if (known === undefined) return freshAdamMoments(length)
  if (known.rule === 'adamw') return known
  throw new Error('moments of Muon are of no use to AdamW')
}

function muonMoments(known: Moments | undefined, { length }: Float32Array): MuonMoments {
  if (known === undefined) return freshMuonMoments(length)
  if (known.rule === 'muon') return known
  throw new Error('moments of AdamW are of no use to Muon')
}
