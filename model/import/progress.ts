/** What a long job says while it runs. */
export type ProgressEvent =
  | { readonly type: 'note'; readonly text: string }
  | {
      readonly type: 'progress'
      /** What is being done (`downloading model.safetensors`). */
      readonly task: string
      readonly done: number
      readonly total: number
      readonly unit: 'bytes' | 'tensors' | 'examples'
    }

export type OnProgress = (event: ProgressEvent) => void
