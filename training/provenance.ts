import packageJson from '../package.json' with { type: 'json' }
import type { AdapterTraining } from './adapter-training.ts'
import type { TrainResult } from './train.ts'

/**
 * Where a trained adapter comes from and what training made of it are the `train.*` keys of its file. They hold no
 * times and no paths, so that the same training gives the same bytes.
 */
export type Provenance = Readonly<Record<string, string>>

/** The keys that are known before training. */
export function originOf({
  data,
  settings,
  start,
}: Pick<AdapterTraining, 'data' | 'settings' | 'start'>): Provenance {
  return trainKeys({
    method: 'gradient',
    data: data.train.source,
    examples: data.train.examples.length,
    prompts: data.prompts,
    dev: data.dev.source,
    dev_examples: data.dev.examples.length,
    seed: settings.seed,
    settings: JSON.stringify(settings),
    start: start.name,
  })
}

/** The keys that training adds. */
export function outcomeOf({
  devLoss,
  outcome,
  state,
  step,
}: Pick<TrainResult, 'devLoss' | 'outcome' | 'step'> & {
  readonly state: Pick<TrainResult['state'], 'history' | 'step'>
}): Provenance {
  const untuned = state.history.find((record) => record.type === 'untuned')
  return trainKeys({
    outcome,
    steps: state.step,
    best_step: step,
    dev_loss: devLoss,
    dev_loss_untuned: untuned?.devLoss,
    quartet: packageJson.version,
    onnxruntime: packageJson.dependencies['onnxruntime-node'],
    node: process.versions.node,
  })
}

function trainKeys(values: Readonly<Record<string, string | number | undefined>>): Provenance {
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) =>
      value === undefined ? [] : [[`train.${name}`, String(value)]],
    ),
  )
}
