import type { TaskName } from './tasks/tasks.ts'

/** A figure of the reference: one value per seed, or one of an unnamed seed. */
export interface ReferenceRow {
  readonly model: string
  readonly scores: { readonly [T in TaskName]?: readonly number[] }
}

/** The backbone that the reference was trained on. */
export const referenceBackbone = 'smollm2-135m-instruct'

/**
 * The scores of an independent PyTorch implementation on the same data, in f32, with the same schedule and learning
 * rates; accuracies in %, E2E in loss per token. Standard error of an accuracy: 1.4 to 1.8 points.
 */
export const reference: readonly ReferenceRow[] = [
  { model: 'untuned', scores: { sst2: [58.8], trec: [30.8], e2e: [2.417] } },
  { model: 'LoRA r = 4 (1.22 M)', scores: { sst2: [85.8], trec: [93.0, 91.0], e2e: [1.536] } },
  // Of experiments/lora/yardstick.py, one seed each. Dev data choose 3e-3.
  { model: 'LoRA r = 4 of `experiments/lora`, rate 1e-3 (1.22 M)', scores: { banking77: [47.3] } },
  {
    model: 'LoRA r = 4 of `experiments/lora`, rate 3e-3 (1.22 M)',
    scores: { sst2: [91.0], trec: [96.5], e2e: [1.396], banking77: [64.5] },
  },
  {
    model: 'LoRA r = 16 of `experiments/lora`, rate 3e-3 (4.88 M)',
    scores: { sst2: [89.8], trec: [93.5], e2e: [1.38], banking77: [70.3] },
  },
  {
    model: 'iapt, m = 64, own anchors, after-first, GELU (2.29 M)',
    scores: { sst2: [84.3, 83.3], trec: [92.0, 91.8] },
  },
  {
    model: 'iapt, m = 64, fixed anchor, first, rational (2.22 M)',
    scores: { sst2: [84.8], trec: [90.8, 81.8], e2e: [1.587] },
  },
  { model: 'iapt, m = 64, fixed anchor, after-first, GELU (2.22 M)', scores: { trec: [90.3, 92.3, 92.3] } },
  { model: 'iapt, m = 64, own anchors, first, GELU (2.29 M)', scores: { trec: [92.8, 90.0] } },
  { model: 'iapt, m = 64, fixed anchor, first, GELU (2.22 M)', scores: { trec: [92.5, 83.8] } },
  { model: 'iapt, m = 64, no anchor, random base', scores: { sst2: [52.0], trec: [66.0] } },
  { model: 'static, 4 rows, anchor start (69 k)', scores: { sst2: [82.8], trec: [83.5, 83.0], e2e: [1.66] } },
  { model: 'static, 4 rows, random start', scores: { sst2: [52.0], trec: [57.0] } },
  { model: 'lpt at layer 15, no anchor', scores: { trec: [34, 49] } },
]
