package pocketseg

import android.app.Application
import android.media.MediaFormat
import android.net.Uri
import org.junit.After
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import pocketseg.demo.Recording
import pocketseg.demo.VideoSource
import pocketseg.demo.convertVideo
import pocketseg.live.Effect
import pocketseg.live.Latest
import pocketseg.live.Look
import pocketseg.model.Problem
import pocketseg.model.Trouble
import pocketseg.pixels.Size
import java.io.File
import java.io.IOException
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit

/** Converting and recording with fakes that keep to the contract of Android's codecs; no codec of a phone. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [35], shadows = [FakeCodec::class, FakeExtractor::class, FakeMuxer::class])
class VideoTest {
    private val context: Application get() = RuntimeEnvironment.getApplication()
    private val file by lazy { File(context.cacheDir, "out.mp4") }
    private val uri = Uri.parse("content://gallery/video.mp4")
    private val models = mutableListOf<BrightSegmenter>()

    @Before
    @After
    fun reset() = Media.reset()

    private fun video(width: Int, height: Int, frames: Int, rotation: Int? = null, sound: Boolean = true) {
        val format = MediaFormat.createVideoFormat("video/avc", width, height)
        format.setLong(MediaFormat.KEY_DURATION, frames * 33_333L)
        if (rotation != null) format.setInteger(MediaFormat.KEY_ROTATION, rotation)
        val picture = Track(format, MutableList(frames) { Sample(it * 33_333L, byteArrayOf((100 + it).toByte())) })
        val audio = Track(MediaFormat.createAudioFormat("audio/mp4a-latm", 44100, 2), MutableList(7) { Sample(it * 23_220L, byteArrayOf(1, it.toByte())) })
        Media.tracks = if (sound) listOf(audio, picture) else listOf(picture)
    }

    private fun convert(look: Look = Look(Effect.NONE), progress: (Int) -> Unit = {}, cancelled: () -> Boolean = { false }) =
        convertVideo(context, uri, file, look, null, { listOf(BrightSegmenter(spec()).also { models += it }) }, progress, cancelled)

    private fun nothingIsLeftOpen() {
        assertEquals("codecs, extractors, muxers", 0, Media.open)
        assertTrue(models.all { it.closed == 1 })
    }

    @Test
    fun aConvertedVideoKeepsItsTimesItsSoundAndItsUprightPictures() {
        video(width = 34, height = 22, frames = 6, rotation = 90)
        val told = mutableListOf<Int>()
        assertTrue(convert(progress = { told += it }))
        val (picture, sound) = Media.written
        assertEquals(List(6) { it * 33_333L }, picture.samples.map { it.microseconds })
        assertEquals(listOf(22, 34), listOf(MediaFormat.KEY_WIDTH, MediaFormat.KEY_HEIGHT).map(Media.encoderFormat!!::getInteger))
        assertFalse("the pictures are upright already", Media.encoderFormat!!.containsKey(MediaFormat.KEY_ROTATION))
        // Turned clockwise, the stored left half (black) is above and the bright right half below.
        for ((i, sample) in picture.samples.withIndex()) {
            val (above, right, below) = sample.bytes.map { it.toInt() and 255 }
            assertTrue("$above $right $below", above in 15..17 && right in 15..17 && below in 99 + i..101 + i)
        }
        assertEquals(List(7) { it * 23_220L }, sound.samples.map { it.microseconds })
        assertArrayEquals(byteArrayOf(1, 6), sound.samples.last().bytes)
        assertTrue("$told", told == told.sorted() && told.first() >= 0 && told.last() in 80..100)
        assertEquals("whole", file.readText())
        nothingIsLeftOpen()
    }

    @Test
    fun aDecoderThatThrowsIsAMessageAndNothingStaysOpen() {
        for (fault in listOf<(RuntimeException) -> Unit>({ Media.refusal = it }, { Media.decoderFails = it })) {
            Media.reset()
            video(width = 34, height = 22, frames = 3)
            fault(IllegalArgumentException("no such profile"))
            val told = LinkedBlockingQueue<Trouble>()
            VideoSource(context, uri).start(Latest {}, told::add)
            assertEquals(Problem.VIDEO_FAILED, told.poll(20, TimeUnit.SECONDS)?.problem)
            while (Media.open > 0) Thread.sleep(5) // the thread lets go of its decoder after it told
        }
    }

    @Test
    fun aVideoOfOddSizeWithoutSoundIsCutToEvenSides() {
        video(width = 33, height = 21, frames = 3, sound = false)
        assertTrue(convert(Look(Effect.COLOUR)))
        assertEquals(listOf(32, 20), listOf(MediaFormat.KEY_WIDTH, MediaFormat.KEY_HEIGHT).map(Media.encoderFormat!!::getInteger))
        assertEquals(1, Media.written.size)
        assertEquals(3, Media.written.single().samples.size)
        nothingIsLeftOpen()
    }

    @Test
    fun theFileSaysWhatItsColoursMean() {
        video(width = 32, height = 20, frames = 2)
        convert()
        val format = Media.encoderFormat!!
        assertEquals(MediaFormat.COLOR_STANDARD_BT601_PAL, format.getInteger(MediaFormat.KEY_COLOR_STANDARD))
        assertEquals(MediaFormat.COLOR_RANGE_LIMITED, format.getInteger(MediaFormat.KEY_COLOR_RANGE))
    }

    @Test
    fun framesOfOneTimeAreWrittenOneAfterTheOther() {
        video(width = 32, height = 20, frames = 4)
        val format = Media.tracks[1].format
        Media.tracks = listOf(Track(format, mutableListOf(0L, 500L, 500L, 400L).map { Sample(it, byteArrayOf(100)) }.toMutableList()))
        assertTrue(convert())
        assertEquals(listOf(0L, 500L, 501L, 502L), Media.queued)
    }

    @Test
    fun aCancelledConversionLeavesNoFile() {
        video(width = 34, height = 22, frames = 50)
        var asked = false
        assertFalse(convert(progress = { if (it >= 20) asked = true }, cancelled = { asked }))
        assertFalse(file.exists())
        assertTrue("${Media.queued.size}", Media.queued.size in 8..14)
        nothingIsLeftOpen()
    }

    @Test
    fun aConversionThatFailsLeavesNoPartOfAFile() {
        video(width = 34, height = 22, frames = 9)
        Media.failsAt = 4
        assertTrue("gave up" in assertThrows(IOException::class.java) { convert() }.message!!)
        assertFalse(file.exists())
        nothingIsLeftOpen()
        Media.reset()
        video(width = 1, height = 1, frames = 2) // no encoder takes that
        assertThrows(IOException::class.java) { convert() }
        assertFalse(file.exists())
        nothingIsLeftOpen()
    }

    @Test
    fun anEncoderWithoutAnEndIsAnErrorAndNotAWaitForEver() {
        video(width = 34, height = 22, frames = 2)
        Media.endless = true
        assertTrue("end" in assertThrows(IOException::class.java) { convert() }.message!!)
        assertFalse(file.exists())
        nothingIsLeftOpen()
    }

    @Test
    fun aRecordingStartsAtZeroAndCutsFramesToTheShapeOfTheFirst() {
        val recording = Recording(file)
        val pixels = IntArray(40 * 30) { 0xFF808080.toInt() }
        for (i in 0 until 8) recording.add(pixels, Size(40, 30), 5_000_000_000L + i * 33_000_000L)
        val tall = IntArray(20 * 30) { if (it / 20 in 7..22) -1 else 0 } // its middle is white
        for (i in 0 until 4) recording.add(tall, Size(20, 30), 6_000_000_000L + i * 33_000_000L)
        assertTrue(recording.finish())
        recording.add(pixels, Size(40, 30), 7_000_000_000L) // a late one
        val (later, samples) = Media.written.single().samples.partition { it.microseconds >= 1_000_000L }
        assertEquals(0L, samples[0].microseconds)
        assertTrue("busy encoders lose frames, none is late", samples.size in 4..8 && samples.all { it.microseconds % 33_000L == 0L })
        val white = 235.toByte()
        assertTrue("${later.size}", later.size in 2..4)
        for (sample in later) assertEquals(List(3) { white }, sample.bytes.toList())
        assertEquals(1, Media.stopped)
        nothingIsLeftOpen()
    }

    @Test
    fun aRecordingWhoseEncoderGivesUpLeavesNothingAndHasEnded() {
        for (fails in listOf(0, 3)) {
            Media.reset()
            Media.failsAt = fails
            val recording = Recording(file)
            val pixels = IntArray(40 * 30)
            val error = assertThrows(IOException::class.java) { for (i in 0 until 20) recording.add(pixels, Size(40, 30), i * 33_000_000L) }
            assertTrue("gave up" in error.message!!)
            assertFalse(file.exists())
            nothingIsLeftOpen()
            recording.add(pixels, Size(40, 30), 1_000_000_000L) // a late one
            assertFalse(recording.finish())
            assertFalse(file.exists())
            nothingIsLeftOpen()
        }
        val recording = Recording(file)
        assertThrows(IOException::class.java) { recording.add(IntArray(1), Size(1, 1), 0) } // no encoder takes that
        assertFalse(file.exists())
        nothingIsLeftOpen()
    }

    @Test
    fun aRecordingWithoutAPictureWritesNothingAndOneThatFailsLeavesNothing() {
        assertFalse(Recording(file).finish())
        assertFalse(file.exists())
        Media.endless = true
        val recording = Recording(file)
        recording.add(IntArray(40 * 30), Size(40, 30), 0)
        assertThrows(IOException::class.java) { recording.finish() }
        assertFalse(file.exists())
        nothingIsLeftOpen()
    }
}
