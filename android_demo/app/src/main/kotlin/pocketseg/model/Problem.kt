package pocketseg.model

/** What can go wrong, for the screen to say in the person's language. */
enum class Problem {
    UNEXPECTED, NO_PICTURE, NO_MEMORY, SAVE_FAILED, BACKGROUND_FAILED,
    MODEL_REFUSED, MODEL_STOPPED, GPU_TRUSTED, GPU_NOT_TRUSTED, GPU_CRASHED, GRAPHICS_FAILED, GRAPHICS_CRASHED,
    CAMERA_NONE, CAMERA_REFUSED, CAMERA_LOST, CAMERA_FAILED, PHOTO_FAILED, VIDEO_FAILED, FILE_GONE,
}

/** [detail] is technical: a model's name, a size, what the system said. */
data class Trouble(val problem: Problem, val detail: String? = null) {
    constructor(problem: Problem, error: Throwable) : this(problem, error.message ?: error.javaClass.simpleName)
}
