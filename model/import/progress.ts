/** The progress that a long job reports while it runs. */
export type ProgressEvent =
  | { readonly type: 'note'; readonly text: string }
  | {
      readonly type: 'progress'
      /** The work in progress (`downloading model.safetensors`). */
      readonly task: string
      readonly done: number
      readonly total: number
      readonly unit: 'bytes' | 'tensors' | 'examples'
    }

export type OnProgress = (event: ProgressEvent) => void
