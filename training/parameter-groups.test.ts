import { expect, it } from 'vitest'
import { type AdapterMetadata, adapterTensorSpecs } from '../shared/adapter-file.ts'
import { fakeRational, fakeStatic } from '../test/fakes/fake-loss-model.ts'
import { updateRules } from './parameter-groups.ts'
import { TrainSettings } from './settings.ts'

const rates = { generator: 1e-3, anchor: 2e-3, static: 3e-3, rational: 4e-3 }

function rulesOf(metadata: AdapterMetadata, optimizer: TrainSettings['optimizer']) {
  const settings = TrainSettings.parse({ steps: 1, evaluateEvery: 1, decay: 0.5, optimizer, rates })
  const specs = adapterTensorSpecs(metadata)
  const ruleOf = updateRules(specs, settings)
  return Object.fromEntries(
    [...specs.keys()]
      .filter((name) => name.startsWith('layers.1.'))
      .map((name) => [name.slice(9), ruleOf(name)]),
  )
}

const adamw = (rate: number, decay: number) => ({ rule: 'adamw', rate, decay })

it('Muon trains the projections of a generator by their shapes, AdamW its queries and all rows and coefficients', () => {
  const others = {
    query: adamw(1e-3, 0.5),
    anchor: adamw(2e-3, 0),
    rational: adamw(4e-3, 0),
  }
  expect(rulesOf(fakeRational, 'muon')).toEqual({
    ...others,
    down: { rule: 'muon', rate: 1e-3, decay: 0.5, rows: 4, columns: 3 },
    up: { rule: 'muon', rate: 1e-3, decay: 0.5, rows: 3, columns: 4 },
  })
  expect(rulesOf(fakeRational, 'adamw')).toEqual({ ...others, down: adamw(1e-3, 0.5), up: adamw(1e-3, 0.5) })
  expect(rulesOf(fakeStatic, 'muon')).toEqual({ static: adamw(3e-3, 0.5) })
})
