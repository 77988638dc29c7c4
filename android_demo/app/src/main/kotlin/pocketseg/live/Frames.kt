package pocketseg.live

import pocketseg.model.Trouble
import pocketseg.pixels.Orientation
import pocketseg.pixels.Size
import pocketseg.pixels.YuvColours
import pocketseg.pixels.YuvLayout

/** A picture as its source delivered it, not yet upright. The arrays are used again for every frame that fits. */
class Picture {
    var size = Size(1, 1)
        private set
    var orientation = Orientation()
        private set
    var yuv: YuvLayout? = null // else the picture is `argb`
        private set
    var colours = YuvColours.FULL_601
        private set

    /** A frame of a running camera or video; a photo is shown larger and whole. */
    val moving get() = yuv != null
    var y = ByteArray(0)
        private set
    var u = ByteArray(0)
        private set
    var v = ByteArray(0)
        private set
    var argb = IntArray(0)
        private set

    /** Make room for a frame; the caller then fills [y], [u] and [v], which are at least as long as asked. */
    fun frame(layout: YuvLayout, lumaBytes: Int, chromaBytes: Int, orientation: Orientation, colours: YuvColours) {
        size = layout.size
        yuv = layout
        this.orientation = orientation
        this.colours = colours
        if (y.size < lumaBytes) y = ByteArray(lumaBytes)
        if (u.size < chromaBytes) {
            u = ByteArray(chromaBytes)
            v = ByteArray(chromaBytes)
        }
    }

    fun photo(pixels: IntArray, size: Size, orientation: Orientation) {
        yuv = null
        argb = pixels
        this.size = size
        this.orientation = orientation
    }
}

/**
 * The newest picture wins: a writer fills [back] and publishes it, a reader takes what was published last.
 *
 * Three pictures change hands, so neither side ever waits for the other or touches the other's picture.
 */
class Latest(private val published: () -> Unit) {
    private var writing = Picture()
    private var waiting = Picture()
    private var reading = Picture()
    private var fresh = false

    /** Pictures that a newer one replaced before they were read. */
    @get:Synchronized
    var dropped = 0L
        private set

    /** The writer's picture until it calls [publish]. */
    val back get() = writing

    fun publish() {
        synchronized(this) {
            val next = waiting
            waiting = writing
            writing = next
            if (fresh) dropped++
            fresh = true
        }
        published()
    }

    @Synchronized
    fun hasFresh() = fresh

    /** The newest picture, the reader's until the next call; null when there is none that was not taken before. */
    @Synchronized
    fun take(): Picture? {
        if (!fresh) return null
        val newest = waiting
        waiting = reading
        reading = newest
        fresh = false
        return newest
    }
}

/** A camera, a video or a photo. Pictures are delivered on the source's own thread. */
interface FrameSource {
    /** [failed] may be called on any thread. */
    fun start(frames: Latest, failed: (Trouble) -> Unit)

    /** Returns at once; a last picture may still arrive. */
    fun stop()
}
