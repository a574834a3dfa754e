import packageJson from '../package.json' with { type: 'json' }
import type { AdapterTraining } from './adapter-training.ts'
import type { TrainResult } from './train.ts'

/**
 * Where a trained adapter comes from: the `train.*` keys of its file. No times and no paths, so that the same training
 * gives the same bytes.
 */
export function provenanceOf(
  { data, settings, start }: Pick<AdapterTraining, 'data' | 'settings' | 'start'>,
  { devLoss, outcome, state, step }: Pick<TrainResult, 'devLoss' | 'outcome' | 'state' | 'step'>,
): Record<string, string> {
  const untuned = state.history.find((record) => record.type === 'untuned')
  const values: Record<string, string | number | undefined> = {
    method: 'gradient',
    data: data.train.source,
    examples: data.train.examples.length,
    prompts: data.prompts,
    dev: data.dev.source,
    dev_examples: data.dev.examples.length,
    seed: settings.seed,
    settings: JSON.stringify(settings),
    start: start.name,
    outcome,
    steps: state.step,
    best_step: step,
    dev_loss: devLoss,
    dev_loss_untuned: untuned?.devLoss,
    quartet: packageJson.version,
    onnxruntime: packageJson.dependencies['onnxruntime-node'],
    node: process.versions.node,
  }
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) =>
      value === undefined ? [] : [[`train.${name}`, String(value)]],
    ),
  )
}
